"""Plan a read: which tiles and packets, by which way, as which byte ranges."""
