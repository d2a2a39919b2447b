"""Geometry (T.800 Annex B): tiles, resolution levels, precincts, packet order."""
