"""The format JPEG 2000 (ITU-T T.800), without I/O and decoder.

The modules follow the flow of data: `syntax` parses boxes and marker segments, `geometry` computes tiles, precincts and
packets, `locate` finds the tile-parts, `plan` chooses the bytes to fetch, and `assemble` makes small valid codestreams
of them.
"""
