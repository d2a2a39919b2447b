"""Syntax (T.800 Annexes A and I): boxes, marker segments, headers, and the bytes read so far."""
