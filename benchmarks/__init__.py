"""What jp2batch takes, beside what others take, in the same run: `python -m benchmarks`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""Where the repository is."""
