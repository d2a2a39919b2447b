"""Drivers: one file per library that reads from a kind of store."""
