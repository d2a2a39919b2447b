"""Readers for other libraries: odc-stac's driver, rio-tiler's readers.

Each module imports its library, and is imported only when that library asks for it.
"""
