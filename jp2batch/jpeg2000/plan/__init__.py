"""Planning of reads: tiles, packets, methods of location and byte ranges."""
