"""Manifests: files of requests as CSV, JSON, Parquet or plain paths."""
