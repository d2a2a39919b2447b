"""Many images as one lazy array of times, bands, rows and columns."""
