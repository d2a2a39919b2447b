"""Syntax (T.800 annexes A and I): boxes, marker segments, headers."""
