"""Images as virtual Zarr: chunks are byte ranges of the files themselves."""
