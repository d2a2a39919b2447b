"""The format JPEG 2000 (ITU-T T.800): bytes in, values out, no I/O and no decoder.

Read it in the order of its data: `syntax` parses boxes and marker segments, `geometry` says which tiles, precincts and
packets there are, `locate` finds the tile-parts, `plan` decides which bytes to fetch, and `assemble` makes small valid
codestreams of them.
"""
