"""Measure jp2batch and its peers in the same run: `python -m benchmarks`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""Folder of the repository."""
