"""JP2 boxes (T.800 annex I) around the codestream.

Some of them carry colour and georeferencing.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from jp2batch.core.content import HEAD, TAIL, foreign_content, members_hint
from jp2batch.core.errors import CorruptImage, NotJpeg2000
from jp2batch.core.ranges import ByteRange
from jp2batch.jpeg2000.syntax.sparse_file import Ahead, SparseFile, Steps, require

SIGNATURE = bytes.fromhex("0000000c6a5020200d0a870a")
"""The JP2 signature box, I.5.1."""
START_OF_CODESTREAM = bytes.fromhex("ff4fff51")
"""SOC, followed by SIZ: a raw codestream, A.4.1 and A.5.1."""
_EOC = bytes.fromhex("ffd9")
_SUPERBOXES = frozenset({"jp2h", "asoc", "res ", "uinf"})
_LARGEST_KEPT = 16 << 20  # bytes of all boxes together: larger metadata is not georeferencing
_MOST_BOXES = 1000


@dataclass(frozen=True, slots=True)
class Box:
    """A box of a JP2 file."""

    type: str
    """The box type, four characters such as "jp2h"."""
    content: bytes
    """Content after the header; empty for boxes above the size limit."""

    def children(self, *, strict: bool = False) -> Iterator["Box"]:
        """Iterate over the boxes inside; empty unless this is a superbox.

        The iteration is not recursive, because files may nest boxes to any depth. A damaged box ends the iteration; if
        `strict`, it raises `CorruptImage`.
        """
        position = 0
        while self.type in _SUPERBOXES and position + 8 <= len(self.content):
            try:
                kind, start, stop = _parse_header(self.content[position : position + 16], position, len(self.content))
            except CorruptImage:
                break
            if stop > len(self.content):
                break
            yield Box(kind, self.content[start:stop])
            position = stop
        if strict and position != len(self.content):
            raise CorruptImage("", f"its {self.type.strip()} box is damaged", "fetch the file again")


@dataclass(frozen=True, slots=True)
class Container:
    """A file as a codestream and the boxes around it."""

    boxes: tuple[Box, ...]
    """All boxes except the codestream's; empty for a raw codestream."""
    codestream: ByteRange
    """Byte range of the codestream."""
    before: int = 0
    """Number of boxes before the codestream."""
    problem: str = ""
    """Contradiction between box lengths; empty if they are consistent.

    If they contradict, the extent of the codestream is uncertain.
    """
    raw: bool = False
    """Whether the file is a codestream without boxes."""

    @property
    def header(self) -> Box | None:
        """The first JP2 header box, I.5.3."""
        return next((box for box in self.boxes if box.type == "jp2h"), None)

    def find(self, kind: str) -> Iterator[Box]:
        """Iterate over the boxes of a type in the JP2 header box."""
        return (box for box in (self.header.children() if self.header else ()) if box.type == kind)


def read_container(pieces: SparseFile, ahead: Ahead) -> Steps[Container]:
    """Read the boxes of a file, and locate its codestream.

    A raw codestream has no boxes. Boxes behind the codestream are read as well.

    Raises
    ------
    NotJpeg2000
        The file is something else.
    CorruptImage
        The file ends before its codestream.
    """
    if pieces.size == 0:
        raise NotJpeg2000("", "the file is empty", "give a JPEG 2000 file")
    start = yield from require(pieces, 0, min(12, pieces.size), ahead)
    if start.startswith(START_OF_CODESTREAM):
        return Container((), ByteRange(0, pieces.size), raw=True)
    if start != SIGNATURE:
        raise (yield from _not_jpeg2000(pieces))
    return (yield from _read_boxes(pieces, ahead))


def _not_jpeg2000(pieces: SparseFile) -> Steps[NotJpeg2000]:
    """Return the error of another kind of file.

    The kind is named if known.
    """
    head = yield from require(pieces, 0, min(HEAD, pieces.size))
    found = foreign_content(head)
    if found is None:
        problem = f"not a JPEG 2000 file: it starts with {_shown(head[:12])}"
        return NotJpeg2000("", problem, "give a JP2 file or a codestream")
    hint = ""
    if found.media == "zip":
        hint = members_hint((yield from require(pieces, max(0, pieces.size - TAIL), pieces.size)))
    return NotJpeg2000("", f"not a JPEG 2000 file: it is {found.name}", hint or found.hint)


def _read_boxes(pieces: SparseFile, ahead: Ahead) -> Steps[Container]:
    boxes, codestream = yield from _read_to_codestream(pieces, ahead)
    before = len(boxes)
    problem = yield from _read_behind(pieces, codestream.stop, boxes, ahead)
    if problem and (yield from _ends_in_eoc(pieces, codestream)):
        problem = ""  # EOC confirms the end of the codestream's box; data behind it do not matter
    if problem:
        codestream = ByteRange(codestream.start, pieces.size)
    return Container(tuple(boxes), codestream, before, problem)


def _ends_in_eoc(pieces: SparseFile, codestream: ByteRange) -> Steps[bool]:
    if not codestream.start + len(_EOC) <= codestream.stop <= pieces.size:
        return False
    return (yield from require(pieces, codestream.stop - len(_EOC), codestream.stop)) == _EOC


def _read_to_codestream(pieces: SparseFile, ahead: Ahead) -> Steps[tuple[list[Box], ByteRange]]:
    """Return the boxes before the codestream, and the codestream's box range."""
    boxes: list[Box] = []
    position = len(SIGNATURE)
    for _ in range(_MOST_BOXES):
        if position + 8 > pieces.size:
            break
        kind, start, stop = yield from _read_box_header(pieces, position, ahead)
        if kind == "jp2c":
            return boxes, ByteRange(start, stop)
        content = (yield from require(pieces, start, stop, ahead)) if _is_kept(boxes, stop - start) else b""
        boxes.append(Box(kind, content))
        position = stop
    raise CorruptImage("", "the file holds no codestream", "fetch it again, or give a JPEG 2000 file")


def _read_behind(pieces: SparseFile, position: int, boxes: list[Box], ahead: Ahead) -> Steps[str]:
    """Append the boxes behind the codestream to `boxes`.

    Return the contradiction between their lengths, or an empty text.
    """
    if position > pieces.size:
        return f"its jp2c box ends at byte {position} of {pieces.size}"
    while position < pieces.size and len(boxes) < _MOST_BOXES:
        if position + 8 > pieces.size:
            return f"{pieces.size - position} bytes at its end are not a box"
        try:
            kind, start, stop = yield from _read_box_header(pieces, position, ahead)
        except CorruptImage as error:
            return error.problem
        if stop > pieces.size:
            return f"the box at byte {position} ends at byte {stop} of {pieces.size}"
        content = (yield from require(pieces, start, stop, ahead)) if _is_kept(boxes, stop - start) else b""
        boxes.append(Box(kind, content))
        position = stop
    return ""


def _is_kept(boxes: list[Box], size: int) -> bool:
    """Return whether a further box of this size is kept."""
    return size <= _LARGEST_KEPT - sum(len(box.content) for box in boxes)


def _read_box_header(pieces: SparseFile, position: int, ahead: Ahead) -> Steps[tuple[str, int, int]]:
    header = yield from require(pieces, position, min(position + 16, pieces.size), ahead)
    return _parse_header(header, position, pieces.size)


def _parse_header(header: bytes, position: int, size: int) -> tuple[str, int, int]:
    """Return type, content start and end of a box (I.4)."""
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
