"""The format, ITU-T T.800 | ISO/IEC 15444-1: bytes in, values out. No I/O; standard library only."""
