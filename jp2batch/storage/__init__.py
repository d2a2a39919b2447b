"""Storage: ranged, concurrent, counted reads of an object."""
