"""Write packet headers for some of their code-blocks (T.800 B.10)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from jp2batch.jpeg2000.syntax.packet_headers import BandBlocks, BandState
from jp2batch.jpeg2000.syntax.stuffed_bits import stuff_bits

_NEVER = 1 << 30  # layer of the first inclusion of the other code-blocks
EMPTY = b"\0"
"""Header of an empty packet, B.10.3."""


@dataclass(slots=True, eq=False)
class BandWriter:
    """Some code-blocks of a precinct in a subband, over all its layers.

    Parameters
    ----------
    state : BandState
        State of all code-blocks, as parsed up to the current packet.
    needed : collection of int
        Numbers of the code-blocks to write.
    """

    state: BandState
    needed: Collection[int]
    _layers: list[int]
    """Layer in which each node of the inclusion tree is included first."""
    _inclusion: list[int]
    """The tree as a decoder knows it, as in `BandState`."""
    _planes: set[int]
    """Nodes of the zero bit-planes tree already written."""

    @classmethod
    def new(cls, state: BandState, needed: Collection[int]) -> "BandWriter":
        """Return a writer before the first layer."""
        size = state.shape.size
        return cls(state, needed, [_NEVER] * size + [0], [0] * size + [~0], {-1})

    def bits(self, contributions: BandBlocks, layer: int) -> str:
        """Return the bits of the wanted code-blocks in a layer."""
        codes = {
            block: code
            for block, code in zip(contributions.blocks, contributions.codes, strict=True)
            if block in self.needed
        }
        parents = self.state.shape.parents
        for block, first in zip(contributions.blocks, contributions.is_first, strict=True):
            if first and block in codes:
                node = block
                while self._layers[node] == _NEVER:
                    self._layers[node] = layer
                    node = parents[node]
        out: list[str] = []
        inclusion, layers = self._inclusion, self._layers
        for block in range(self.state.shape.leaves):
            if layers[block] < layer:
                out.append("1" + codes[block] if block in codes else "0")
                continue
            parent = parents[block]
            if inclusion[parent] > layer:
                continue  # not included, as its ancestors
            if inclusion[parent] >= 0:
                self._write_inclusion(parent, layer, out)
                if inclusion[parent] >= 0:
                    continue
            self._write_inclusion(block, layer, out)
            if block in codes:
                self._write_planes(block, out)
                out.append(codes[block])
        return "".join(out)

    def _write_inclusion(self, block: int, layer: int, out: list[str]) -> None:
        inclusion = self._inclusion
        path, low = self.state.shape.open_path(inclusion, block)
        for node in path:
            low = max(low, inclusion[node])
            value = self._layers[node]
            if value > layer:
                out.append("0" * (layer + 1 - low))
                inclusion[node] = max(low, layer + 1)
                return
            out.append("0" * (value - low) + "1")
            inclusion[node], low = ~value, value

    def _write_planes(self, block: int, out: list[str]) -> None:
        """Write the zero bit-planes of a code-block, and of its unknown ancestors.

        They keep their values among all code-blocks: later layers need no other.
        """
        values, parents = self.state.zero_bit_planes, self.state.shape.parents
        path, node = list[int](), block
        while node not in self._planes:
            path.append(node)
            node = parents[node]
        self._planes.update(path)
        out += ("0" * (values[node] - values[parents[node]]) + "1" for node in reversed(path))


def write_packet_header(writers: Sequence[BandWriter], bands: Sequence[BandBlocks], layer: int) -> bytes:
    """Return a packet header for the wanted code-blocks.

    Parameters
    ----------
    writers : sequence of BandWriter
        Writers of the subbands of the precinct.
    bands : sequence of BandBlocks
        Contributions of the original packet.
    layer : int
        Number of the layer.
    """
    if not bands or not any(
        block in writer.needed for writer, band in zip(writers, bands, strict=True) for block in band.blocks
    ):
        return EMPTY
    return stuff_bits("1" + "".join(writer.bits(band, layer) for writer, band in zip(writers, bands, strict=True)))
