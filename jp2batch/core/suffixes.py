"""Suffixes of JPEG 2000 files."""

JPEG2000_SUFFIXES = (".jp2", ".j2k", ".j2c", ".jpc", ".jpx", ".jpf", ".jph", ".jhc")

PRODUCT_SUFFIX = ".safe"
"""Suffix of the folder of a product."""
