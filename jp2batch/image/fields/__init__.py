"""Fields on the map, and the samples of an image that belong to each."""
