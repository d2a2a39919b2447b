"""Bits of packet headers, stuffed behind each 0xFF (T.800 B.10.1)."""

import numpy as np


class StuffedBits:
    """Bits of a packet header, as digits of text.

    Text is the fastest sequence of bits to search and to slice in Python.

    Parameters
    ----------
    data : bytes
        Bytes from the begin of the header on; the header may end before them.
    """

    def __init__(self, data: bytes) -> None:
        codes = np.frombuffer(data, np.uint8)
        bits = np.unpackbits(codes)
        self._data = data
        self._stuffed = np.flatnonzero(codes[:-1] == 0xFF) + 1
        self._has_markers = bool(len(self._stuffed) and (codes[self._stuffed] > 0x7F).any())
        if len(self._stuffed):
            bits = np.delete(bits, self._stuffed * 8)
        self.text = (bits + ord("0")).tobytes().decode("ascii")

    def bytes_of(self, bits: int) -> int:
        """Return the number of bytes of the first bits.

        A stuffed byte behind a final 0xFF is included.

        Raises
        ------
        ValueError
            A marker is among them.
        """
        size = self._size(bits)
        if size and self._data[size - 1] == 0xFF:
            size += 1
        if self._has_markers and any(self._data[place] > 0x7F for place in self._stuffed.tolist() if place < size):
            raise ValueError("a marker in a packet header")
        return size

    def _size(self, bits: int) -> int:
        size = -(-bits // 8)
        while True:
            have = 8 * size - int(np.searchsorted(self._stuffed, size, "left"))  # stuffed bytes have 7 bits
            if have >= bits:
                return size
            size += 1


def stuff_bits(text: str) -> bytes:
    """Return the bytes of a packet header from its bits as text.

    The last byte is filled with zeros; it is never 0xFF.
    """
    result = bytearray()
    while text:
        data = int(text, 2) << -len(text) % 8
        plain = data.to_bytes(-(-len(text) // 8), "big")
        full = plain.find(b"\xff")
        if full < 0:
            return bytes(result + plain)
        result += plain[: full + 1]
        text = "0" + text[8 * (full + 1) :]
    return bytes(result)
