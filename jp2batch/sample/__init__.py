"""Small Sentinel-2-like products for demo, notebooks and tests."""
