"""Fields on the map, and their samples in images."""
