"""Lazy cubes of images: times, bands, rows and columns."""
