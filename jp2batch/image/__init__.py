"""A single image: open, plan, read, decode, and keep its index."""
