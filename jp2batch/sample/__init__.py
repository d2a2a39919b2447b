"""Small Sentinel-2-like products: for the demo, the notebooks and the tests."""
