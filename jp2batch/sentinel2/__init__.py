"""The mission Sentinel-2: names, metadata, bands and products."""
