"""JP2 boxes around a codestream, in usual and in odd places (T.800 annex I)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Form = Literal["short", "long", "open"]
"""LBox has the length, XLBox has it, or the box goes to the end of the file."""


@dataclass(frozen=True)
class Box:
    """A box."""

    kind: bytes
    content: bytes
    form: Form = "short"

    def to_bytes(self, wrong: int = 0) -> bytes:
        """Return its bytes, the length wrong by so much."""
        size = len(self.content) + wrong
        if self.form == "long":
            return struct.pack(">I4sQ", 1, self.kind, max(0, 16 + size)) + self.content
        return struct.pack(">I4s", max(2, 8 + size) if self.form == "short" else 0, self.kind) + self.content


@dataclass
class Boxes:
    """The boxes of a file."""

    header: list[Box]
    """The boxes in jp2h; ihdr comes first."""
    before: list[Box] = field(default_factory=list)
    """Boxes between ftyp and jp2h."""
    between: list[Box] = field(default_factory=list)
    """Boxes between jp2h and the codestream."""
    behind: list[Box] = field(default_factory=list)
    """Boxes behind the codestream."""
    form: Form = "open"
    wrong: int = 0
    garbage: bytes = b""

    @classmethod
    def of(cls, height: int, width: int, components: int, depth: int) -> "Boxes":
        """Return the usual boxes of an image."""
        ihdr = struct.pack(">IIHBBBB", height, width, components, depth, 7, 0, 0)
        colr = struct.pack(">BBBI", 1, 0, 0, 17 if components < 3 else 16)
        return cls([Box(b"ihdr", ihdr), Box(b"colr", colr)])

    def per_component_depth(self, components: int) -> None:
        """Store the bits of components in bpcc instead of ihdr."""
        ihdr = self.header[0].content
        if ihdr[10] == 0xFF:
            return
        self.header[0] = Box(b"ihdr", ihdr[:10] + b"\xff" + ihdr[11:])
        self.header.insert(1, Box(b"bpcc", ihdr[10:11] * components))

    def all_inner(self) -> Iterator[Box]:
        """Iterate over the boxes of jp2h, also if misplaced."""
        for box in (*self.header, *self.before, *self.between, *self.behind):
            yield box
            if box.kind == b"jp2h" and b"cmap" in box.content:
                yield Box(b"cmap", b"")


def codestream_box(stream: bytes, form: Form = "short") -> Box:
    return Box(b"jp2c", stream, form)


def jp2(boxes: Boxes, stream: bytes) -> bytes:
    """Return the file; a box behind an open codestream box closes it."""
    form = "short" if boxes.form == "open" and (boxes.behind or boxes.garbage) else boxes.form
    parts = [
        bytes.fromhex("0000000c6a5020200d0a870a"),
        Box(b"ftyp", b"jp2 \0\0\0\0jp2 ").to_bytes(),
        *(box.to_bytes() for box in boxes.before),
        Box(b"jp2h", b"".join(box.to_bytes() for box in boxes.header)).to_bytes(),
        *(box.to_bytes() for box in boxes.between),
        codestream_box(stream, form).to_bytes(boxes.wrong),
        *(box.to_bytes() for box in boxes.behind),
        boxes.garbage,
    ]
    return b"".join(parts)
