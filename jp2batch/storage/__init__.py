"""The bytes: ranged, concurrent, counted reads of one object, wherever it lies."""
