"""Channels of an image: components, or palette columns (T.800 I.5.3.4)."""

import struct
from dataclasses import dataclass

from jp2batch.core.errors import CorruptImage
from jp2batch.jpeg2000.syntax.boxes import Container
from jp2batch.jpeg2000.syntax.headers import MainHeader
from jp2batch.jpeg2000.syntax.markers import Siz


@dataclass(frozen=True, slots=True)
class Channel:
    """A plane of samples."""

    bits: int
    """Bits of a sample."""
    signed: bool
    """Whether samples are signed."""
    in_palette: bool = False
    """Whether samples come from a palette.

    Decoders return signed palette entries as unsigned numbers.
    """

    @property
    def dtype(self) -> str:
        """Smallest numpy integer type, of 8 to 32 bits, for a sample."""
        bits = self.bits + (self.in_palette and self.signed)
        size = 8 if bits <= 8 else 16 if bits <= 16 else 32
        return f"{'' if self.signed else 'u'}int{size}"


def check_header_box(container: Container, siz: Siz) -> None:
    """Check the JP2 header box against the codestream (I.5.3.1).

    Raises
    ------
    CorruptImage
        The box is damaged, or contradicts the codestream.
    """
    if container.raw:
        return
    boxes = list(container.header.children(strict=True)) if container.header else []
    image = next((box.content for box in boxes if box.type == "ihdr"), b"")
    told = struct.unpack(">IIH", image[:10]) if len(image) == 14 else None
    if told is None:
        raise CorruptImage("", "its JP2 header box is damaged or missing", "fetch the file again")
    found = siz.ysiz - siz.yosiz, siz.xsiz - siz.xosiz, len(siz.components)
    if told != found:
        text = " and ".join("{} x {}, {} components".format(*image) for image in (told, found))
        raise CorruptImage("", f"its headers contradict each other: {text}", "fetch the file again")


def channels(container: Container, header: MainHeader) -> tuple[Channel, ...]:
    """Return the channels of an image as decoded: palettes applied.

    Raises
    ------
    CorruptImage
        The palette or its mapping is damaged.
    """
    components = tuple(Channel(c.bits, c.signed) for c in header.siz.components)
    palette = next(container.find("pclr"), None)
    mapping = next(container.find("cmap"), None)
    if palette is None or mapping is None:
        return components
    depths = palette.content[3 : 3 + palette.content[2]] if len(palette.content) > 3 else b""
    entries = [mapping.content[at : at + 4] for at in range(0, len(mapping.content), 4)]
    try:
        found = tuple(
            _channel(depths[entry[3]]) if entry[2] else components[int.from_bytes(entry[:2], "big")]
            for entry in entries
        )
    except IndexError:
        found = ()
    if not found:
        raise CorruptImage("", "its palette does not fit its components", "fetch the file again")
    return found


def _channel(depth: int) -> Channel:
    return Channel((depth & 0x7F) + 1, bool(depth & 0x80), in_palette=True)
