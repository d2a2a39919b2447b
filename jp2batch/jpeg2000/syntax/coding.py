"""Coding, quantization and progression: COD, COC, QCD, QCC, POC (T.800 A.6)."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from jp2batch.core.errors import CorruptImage
from jp2batch.jpeg2000.syntax.markers import Marker, Segment, encode_segment

PROGRESSIONS = ("LRCP", "RLCP", "RPCL", "PCRL", "CPRL")
"""The progression orders by their number, table A.16."""
_MOST_CHANGES = 32  # of POC: what decoders support


@dataclass(frozen=True, slots=True)
class CodingStyle:
    """Coding style of a component: SPcod or SPcoc parameters, table A.20."""

    levels: int
    """Decomposition levels, N_L."""
    code_block: tuple[int, int]
    """Exponents of width and height of the code-blocks."""
    style: int
    """Code-block style; bit 6 means HTJ2K."""
    transform: int
    """0 = 9/7 irreversible, 1 = 5/3 reversible."""
    precincts: tuple[tuple[int, int], ...]
    """Exponents (PPx, PPy) of the precincts by resolution level, lowest first."""
    own_precincts: bool
    """Whether the segment lists precinct sizes; else they are maximal."""

    @classmethod
    def parse(cls, segment: Segment, offset: int, own_precincts: bool) -> Self:
        """Read the parameters at `offset` of a COD or COC marker segment."""
        levels, xcb, ycb, style, transform = segment.unpack(">BBBBB", offset)
        if levels > 32 or xcb > 8 or ycb > 8 or xcb + ycb > 8 or transform > 1:
            raise segment.wrong("claims a coding outside T.800")
        sizes = segment.unpack(f">{levels + 1}B", offset + 5) if own_precincts else (0xFF,) * (levels + 1)
        if len(segment.body) != offset + 5 + len(sizes) * own_precincts:
            raise segment.wrong(f"has {len(segment.body)} bytes, for {levels} decomposition levels")
        precincts = tuple((size & 15, size >> 4) for size in sizes)
        if any(0 in size for size in precincts[1:]):
            raise segment.wrong("claims precincts of one sample above the lowest resolution")
        return cls(levels, (xcb + 2, ycb + 2), style, transform, precincts, own_precincts)

    def encode(self) -> bytes:
        """Return the bytes of the parameters."""
        xcb, ycb = self.code_block
        sizes = bytes(ppx | ppy << 4 for ppx, ppy in self.precincts) if self.own_precincts else b""
        return bytes((self.levels, xcb - 2, ycb - 2, self.style, self.transform)) + sizes

    def reduced(self, rlevel: int) -> Self:
        """Return the coding of the image without its `rlevel` highest resolution levels."""
        levels = self.levels - rlevel
        return replace(self, levels=levels, precincts=self.precincts[: levels + 1])


@dataclass(frozen=True, slots=True)
class Cod:
    """Coding style default, A.6.1."""

    scod: int
    """Coding style bits: 0 listed precincts, 1 SOP allowed, 2 EPH used."""
    progression: str
    """Progression order, from `PROGRESSIONS`."""
    layers: int
    """Number of quality layers."""
    mct: int
    """1 = a multiple component transformation is used."""
    coding: CodingStyle

    @classmethod
    def parse(cls, segment: Segment) -> Self:
        """Read a COD marker segment."""
        scod, progression, layers, mct = segment.unpack(">BBHB")
        if progression >= len(PROGRESSIONS) or layers == 0:
            raise segment.wrong(f"claims progression order {progression} with {layers} layers")
        return cls(scod, PROGRESSIONS[progression], layers, mct, CodingStyle.parse(segment, 5, bool(scod & 1)))

    @property
    def sop(self) -> bool:
        """Whether SOP marker segments may precede packets."""
        return bool(self.scod & 2)

    @property
    def eph(self) -> bool:
        """Whether every packet header ends in an EPH marker."""
        return bool(self.scod & 4)

    def encode(self) -> bytes:
        """Return the bytes of the segment."""
        body = struct.pack(">BBHB", self.scod, PROGRESSIONS.index(self.progression), self.layers, self.mct)
        return encode_segment(Marker.COD, body + self.coding.encode())


@dataclass(frozen=True, slots=True)
class Quantization:
    """Quantization of a component: QCD and QCC, A.6.4 and A.6.5."""

    sqcd: int
    """Style in the lower five bits, guard bits above.

    Styles: 0 none, 1 derived, 2 expounded.
    """
    steps: bytes
    """Step sizes of a byte or two each."""

    @classmethod
    def parse(cls, segment: Segment, offset: int) -> Self:
        """Read the parameters at `offset` of a QCD or QCC marker segment."""
        (sqcd,) = segment.unpack(">B", offset)
        return cls(sqcd, segment.body[offset + 1 :])

    def reduced(self, levels: int) -> Self:
        """Return the quantization for `levels` decomposition levels.

        Keeps the steps of the 1 + 3·levels lowest subbands.
        """
        style = self.sqcd & 31
        if style == 1:  # all steps are derived from the first
            return self
        return replace(self, steps=self.steps[: (1 + 3 * levels) * (1 if style == 0 else 2)])

    def encode(self) -> bytes:
        """Return the bytes of the parameters."""
        return bytes((self.sqcd,)) + self.steps


@dataclass(frozen=True, slots=True)
class ProgressionChange:
    """An entry of POC: the order of the next packets, A.6.6."""

    progression: str
    """Progression order, from `PROGRESSIONS`."""
    resolutions: range
    """Resolution levels, of each component."""
    components: range
    """Components."""
    layers: int
    """Number of layers, counted from the first.

    Packets already in the codestream are not repeated.
    """


def parse_poc(segments: Sequence[Segment], components: int) -> tuple[ProgressionChange, ...] | None:
    """Return the entries of POC in a header, A.6.6.

    Returns
    -------
    changes : tuple of ProgressionChange or None
        None if they are malformed, or decoders read them differently: several segments, too many or empty entries.
    """
    if not segments:
        return ()
    entry = struct.Struct(">BBHBBB" if components < 257 else ">BHHBHB")
    body = segments[0].body
    if len(segments) > 1 or not body or len(body) % entry.size or len(body) > entry.size * _MOST_CHANGES:
        return None
    changes: list[ProgressionChange] = []
    for level, component, layers, last_level, last_component, progression in entry.iter_unpack(body):
        resolutions, own = range(level, last_level), range(component, last_component)
        if progression >= len(PROGRESSIONS) or not (resolutions and own and layers):
            return None
        changes.append(ProgressionChange(PROGRESSIONS[progression], resolutions, own, layers))
    return tuple(changes)


def parse_codings(segments: Sequence[Segment], start: int, components: int) -> tuple[Cod, list[CodingStyle]]:
    """Return COD and the coding style of each component.

    The last of contradicting segments counts, as in decoders.

    Raises
    ------
    CorruptImage
        There is no COD, or a segment is malformed.
    """
    cod, codings = None, list[CodingStyle]()
    for segment in segments:
        if segment.marker == Marker.COD:
            cod = Cod.parse(segment)
            codings = [cod.coding] * components
        elif segment.marker == Marker.COC:
            component, offset = _component(segment, components)
            (scoc,) = segment.unpack(">B", offset)
            coding = CodingStyle.parse(segment, offset + 1, bool(scoc & 1))
            if codings:
                codings[component] = coding
    if cod is None:
        raise _lacks(start, Marker.COD)
    return cod, codings


def parse_quantizations(segments: Sequence[Segment], start: int, components: int) -> list[Quantization]:
    """Return the quantization of each component.

    The last of contradicting segments counts, as in decoders.

    Raises
    ------
    CorruptImage
        There is no QCD, or a segment is malformed.
    """
    quantizations = list[Quantization]()
    for segment in segments:
        if segment.marker == Marker.QCD:
            quantizations = [Quantization.parse(segment, 0)] * components
        elif segment.marker == Marker.QCC:
            component, offset = _component(segment, components)
            quantization = Quantization.parse(segment, offset)
            if quantizations:
                quantizations[component] = quantization
    if not quantizations:
        raise _lacks(start, Marker.QCD)
    return quantizations


def _lacks(start: int, marker: Marker) -> CorruptImage:
    problem = f"the main header at byte {start} has no {marker.name} marker segment"
    return CorruptImage("", problem, "fetch the file again")


def _component(segment: Segment, components: int) -> tuple[int, int]:
    """Return the component of a COC or QCC, and the next offset."""
    layout, offset = (">B", 1) if components < 257 else (">H", 2)
    (component,) = segment.unpack(layout)
    if component >= components:
        raise segment.wrong(f"is for component {component} of {components}")
    return component, offset
