"""The gate: conditions for decoding only part of a file.

For files that meet them, decoding a part is proven to give the pixels of the whole. All other files go to the decoder
whole and unchanged. A condition is relaxed only with a proof, and each has a test.
"""

from collections.abc import Callable

from jp2batch.jpeg2000.syntax.boxes import Container
from jp2batch.jpeg2000.syntax.coding import CodingStyle, Quantization
from jp2batch.jpeg2000.syntax.headers import MainHeader
from jp2batch.jpeg2000.syntax.markers import Marker

_BOXES_OF_HEADER = frozenset({"ihdr", "bpcc", "colr", "pclr", "cmap", "cdef"})
"""Boxes useful to decoders only inside the JP2 header box, I.5.3.

Some decoders obey them elsewhere as well.
"""
_KNOWN = frozenset(Marker)
_EXTENDED = 0x8000  # bit of Rsiz: extensions of T.801 are used


def misplaced_boxes(container: Container) -> str:
    """Return a description of misplaced boxes, else empty.

    A decoder may obey misplaced boxes, so that only the decoder can tell the type of samples.
    """
    if container.raw:
        return ""
    kinds = [box.type for box in container.boxes]
    before = kinds[: container.before]
    if before[:1] != ["ftyp"]:
        return "the file type box is not the second one"
    if kinds.count("jp2h") != 1 or "jp2h" not in before:
        return f"it has {kinds.count('jp2h')} JP2 header boxes, {before.count('jp2h')} of them before the codestream"
    if misplaced := _BOXES_OF_HEADER.intersection(kinds):
        return f"its {min(misplaced)} box is not in the JP2 header box"
    if next((box.type for box in container.header.children()), "") != "ihdr" if container.header else False:
        return "the image header box is not the first in the JP2 header box"
    return _odd_palette(container)


def _odd_palette(container: Container) -> str:
    """Return a palette's problem (I.5.3.4, I.5.3.5), else empty."""
    palettes, mappings = list(container.find("pclr")), list(container.find("cmap"))
    if not palettes and not mappings:
        return ""
    if len(palettes) != 1 or len(mappings) != 1:
        return f"it has {len(palettes)} palettes and {len(mappings)} mappings"
    columns = palettes[0].content[2:3]
    fits = len(mappings[0].content) == 4 * int.from_bytes(columns, "big")
    return "" if columns and fits else "its palette does not fit its mapping"


def header_obstacle(header: MainHeader) -> str:
    """Return the first unproven feature of a main header, else empty."""
    return next(filter(None, (check(header) for check in _CHECKS)), "")


def _repeated_defaults(header: MainHeader) -> str:
    for marker in (Marker.COD, Marker.QCD):
        if (count := header.markers.count(marker)) != 1:
            return f"the main header has {count} {marker.name} marker segments"
    return ""


def _unknown_marker(header: MainHeader) -> str:
    unknown = next((s for s in header.segments if s.marker not in _KNOWN), None)
    return f"the main header has an unknown marker, {unknown.name}" if unknown else ""


def _late_defaults(header: MainHeader) -> str:
    for default, other in ((Marker.COD, Marker.COC), (Marker.COD, Marker.POC), (Marker.QCD, Marker.QCC)):
        if other in header.markers and header.markers.index(other) < header.markers.index(default):
            return f"{other.name} stands before {default.name}"
    return ""


def _packed_headers(header: MainHeader) -> str:
    return "PPM is malformed" if header.packed_headers is None else ""


def _extensions(header: MainHeader) -> str:
    if header.siz.rsiz & _EXTENDED:
        return "it uses extensions of T.801"
    if header.cod.scod & ~0x7 or any(coding.style & 0x80 for coding in header.codings):
        return "its coding style is outside T.800"
    return ""


def _missing_steps(header: MainHeader) -> str:
    pairs = zip(header.quantizations, header.codings, strict=True)
    return "" if all(_steps_suffice(*pair) for pair in pairs) else "step sizes are missing"


def _steps_suffice(quantization: Quantization, coding: CodingStyle) -> bool:
    style = quantization.sqcd & 31
    size = {0: 1, 1: 2, 2: 2}.get(style, 0)
    subbands = 1 if style == 1 else 1 + 3 * coding.levels
    return bool(size) and len(quantization.steps) >= size * subbands


_CHECKS: tuple[Callable[[MainHeader], str], ...] = (
    _repeated_defaults,
    _unknown_marker,
    _late_defaults,
    _packed_headers,
    _extensions,
    _missing_steps,
)
