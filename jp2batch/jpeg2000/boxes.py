"""JP2 boxes (T.800 annex I): where the codestream starts, and the boxes that carry colour and georeferencing."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from jp2batch.errors import CorruptImage, NotJpeg2000
from jp2batch.jpeg2000.pieces import Ahead, Pieces, Range, Steps, need

SIGNATURE = bytes.fromhex("0000000c6a5020200d0a870a")
"""The JP2 signature box, I.5.1."""
START_OF_CODESTREAM = bytes.fromhex("ff4fff51")
"""SOC, followed by SIZ: a raw codestream, A.4.1 and A.5.1."""
_SUPERBOXES = frozenset({"jp2h", "asoc", "res ", "uinf"})
_LARGEST_KEPT = 16 << 20  # of all boxes together: larger metadata is not georeferencing
_MOST_BOXES = 1000


@dataclass(frozen=True, slots=True)
class Box:
    """One box that has been read."""

    type: str
    """Its four characters, as "jp2h"."""
    content: bytes
    """What follows its header."""

    def children(self, *, strict: bool = False) -> Iterator["Box"]:
        """Iterate over the boxes inside; none, where this is no superbox.

        What is inside of those is for the caller to ask, down to where it makes sense: a file can nest without end.
        A damaged box ends the iteration; a strict one in `CorruptImage`.
        """
        position = 0
        while self.type in _SUPERBOXES and position + 8 <= len(self.content):
            length, kind = struct.unpack_from(">I4s", self.content, position)
            start = position + 8
            if length == 1 and position + 16 <= len(self.content):
                (length,) = struct.unpack_from(">Q", self.content, start)
                start += 8
            stop = len(self.content) if length == 0 else position + length
            if stop < start or stop > len(self.content):
                break
            yield Box(kind.decode("latin-1"), self.content[start:stop])
            position = stop
        if strict and position != len(self.content):
            raise CorruptImage("", f"its {self.type.strip()} box is damaged", "fetch the file again")


@dataclass(frozen=True, slots=True)
class Container:
    """A file, seen as the boxes around a codestream."""

    boxes: tuple[Box, ...]
    """The boxes beside the codestream; none for a raw codestream."""
    codestream: Range
    """Where the codestream lies."""

    @property
    def header(self) -> Box | None:
        """The JP2 header box, I.5.3."""
        return next((box for box in self.boxes if box.type == "jp2h"), None)

    def find(self, kind: str) -> Iterator[Box]:
        """Iterate over the boxes of a type in the JP2 header box."""
        return (box for box in (self.header.children() if self.header else ()) if box.type == kind)


def read_container(pieces: Pieces, ahead: Ahead) -> Steps[Container]:
    """Find the codestream of a JP2 file or of a raw codestream; read the boxes beside it, those behind it as well.

    Raises
    ------
    NotJpeg2000
        The file is something else.
    CorruptImage
        The file ends before its codestream.
    """
    if pieces.size == 0:
        raise NotJpeg2000("", "the file is empty", "give a JPEG 2000 file")
    start = yield from need(pieces, 0, min(12, pieces.size), ahead)
    if start.startswith(START_OF_CODESTREAM):
        return Container((), Range(0, pieces.size))
    if start != SIGNATURE:
        raise NotJpeg2000(
            "", f"not a JPEG 2000 file: it starts with {_shown(start)}", "give a JP2 file or a codestream"
        )
    return (yield from _read_boxes(pieces, ahead))


def _read_boxes(pieces: Pieces, ahead: Ahead) -> Steps[Container]:
    boxes: list[Box] = []
    codestream: Range | None = None
    position, kept = len(SIGNATURE), 0
    for _ in range(_MOST_BOXES):
        if position + 8 > pieces.size:
            break
        header = yield from need(pieces, position, min(position + 16, pieces.size), ahead)
        kind, start, stop = _parse_header(header, position, pieces.size)
        if kind == "jp2c" and codestream is None:
            codestream = Range(start, stop)
        elif codestream is not None and stop > pieces.size:
            break  # what stands behind the codestream is of use, but not needed
        elif stop - start <= _LARGEST_KEPT - kept:
            kept += stop - start
            content = yield from need(pieces, start, stop, ahead)
            boxes.append(Box(kind, content))
        position = stop
    if codestream is None:
        raise CorruptImage("", "the file holds no codestream", "fetch it again, or give a JPEG 2000 file")
    if codestream.stop > pieces.size:
        raise CorruptImage(
            "", f"the file is cut short: {pieces.size} bytes, where {codestream.stop} were expected", "fetch it again"
        )
    return Container(tuple(boxes), codestream)


def _parse_header(header: bytes, position: int, size: int) -> tuple[str, int, int]:
    """Return type, start of the content and end of the box whose header is given (I.4)."""
    length, kind = struct.unpack_from(">I4s", header)
    start = position + 8
    if length == 1 and len(header) == 16:
        (length,) = struct.unpack_from(">Q", header, 8)
        start += 8
    stop = size if length == 0 else position + length
    if stop < start:
        raise CorruptImage("", f"the box at byte {position} claims a length of {length}", "fetch the file again")
    return kind.decode("latin-1"), start, stop


def _shown(data: bytes) -> str:
    return data.hex(" ") if data else "nothing"
