"""Generate files without PLT, by seed: `packet_header_case(seed)`.

Their packets lie where their packet headers say. The files are variants (`variants.py`) whose codings, sizes and pixels
stress packet headers: layers that hold nothing, code-blocks and packets that are empty, any code-block style, single
tiles. The true lengths of packets come along. Use a child process: OpenJPEG's encoder may abort.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jp2batch.sample import landscape
from jp2batch.sample.coding import Coding, Progression
from support.mutations import Mutation, mutation_of
from support.variant_coding import ORDERS, has_small_tile, is_encodable
from support.variant_draft import Draft, Rng
from support.variant_image import encode_tiles
from support.variants import Variant, apply

_FEATURES = {
    "tile COD, more levels": 0.03,
    "tile COD, fewer levels": 0.03,
    "tile COD, other": 0.06,
    "tile COC of one component": 0.04,
    "main COC": 0.04,
    "RGN": 0.03,
    "POC": 0.12,
    "tile-parts, some": 0.2,
    "tile-parts, all": 0.06,
    "tile-parts, two": 0.12,
    "tile-parts, empty": 0.04,
    "interleaved": 0.3,
    "mixed": 0.05,
    "padded": 0.04,
    "PPT": 0.2,
    "PPM": 0.15,
    "TNsot 0": 0.05,
    "look-alikes": 0.04,
    "TLM": 0.2,
    "Psot 0": 0.08,
    "no EOC": 0.03,
    "JP2": 0.4,
}
"""Probabilities of features of variants."""
_MIXED = "subsampling of its own"
"""Components of different sizes: no array holds them, and a typed refusal is right."""


@dataclass(frozen=True)
class PacketHeaderCase(Variant):
    """A file without PLT, and where its packets lie."""

    packets: tuple[tuple[int, tuple[int, ...]], ...] = ()
    """Tile and true lengths of packets of each tile-part, in the order of the file.

    Headers moved into PPM or PPT do not count.
    """


def packet_header_case(seed: int) -> PacketHeaderCase:
    """Return the case of a seed."""
    rng = np.random.default_rng([seed, 18])
    draft = _draft(rng)
    apply(draft, ["no PLT", *(name for name, share in _FEATURES.items() if rng.random() < share)])
    packets = tuple((part.tile, part.lengths()) for part in draft.parts)
    return PacketHeaderCase(seed, draft.to_bytes(), tuple(draft.facts), tuple(draft.refusable), packets)


def packet_header_mutation(seed: int) -> Mutation:
    """Return a damaged case."""
    return mutation_of(packet_header_case, seed)


def _draft(rng: Rng) -> Draft:
    for _ in range(200):
        coding, components, size = _random_coding(rng)
        kind, pixels = _random_pixels(rng, components, size, coding)
        steps = set(coding.subsampling or [(1, 1)])
        alike = (replace(coding, subsampling=(step,) * components) for step in steps)
        if all(is_encodable(each, size) for each in alike):
            coded = encode_tiles(pixels, coding, coding.style)
            if coded is not None:
                break
    else:
        raise RuntimeError("OpenJPEG refuses two hundred codings")
    draft = Draft(rng, pixels, coding, coding.style, *coded)
    draft.facts.append(f"{size[1]}x{size[0]}, {components} {kind}, {coding}")
    draft.refusable += [_MIXED] * (len(steps) > 1)
    return draft


def _random_coding(rng: Rng) -> tuple[Coding, int, tuple[int, int]]:
    """Return a coding, the number of components, and the image's height and width."""

    def pick(*items: Any) -> Any:
        return items[int(rng.integers(len(items)))]

    side = pick((1, 300), (1, 300), (60, 300), (60, 140), (1, 20), (1, 2))
    size = int(rng.integers(side[0], side[1] + 1)), int(rng.integers(side[0], side[1] + 1))
    tile = pick(None, None, None, None, (64, 64), (128, 128), (50, 37), (200, 100), (300, 40))
    image_offset: tuple[int, int] = (0, 0)
    tile_offset: tuple[int, ...] = (0, 0)
    if rng.random() < 0.3:
        image_offset = int(rng.integers(0, 200)), int(rng.integers(0, 200))
        if tile is not None:
            tile_offset = tuple(
                int(rng.integers(max(0, o - t + 1), o + 1)) for o, t in zip(image_offset, tile, strict=True)
            )
    components = pick(1, 1, 1, 2, 3, 3, 4)
    levels = int(rng.integers(0, 7))
    precincts = pick(
        None,
        None,
        (256, 256),
        (64, 64),
        (32, 64),
        (16, 16),
        ((128, 128), (64, 64)),
        ((256, 64), (64, 256), (32, 32)),
        ((32, 32), (16, 16), (8, 8)),
    )
    bits, signed = pick((8, False), (8, False), (8, False), (1, False), (8, True), (12, False), (16, False), (16, True))
    layers = pick(1, 1, 1, 2, 3, 4, 5)
    ratios = np.sort(rng.choice([2.0, 3, 5, 8, 12, 20, 40, 80, 200], layers, replace=False))[::-1]
    changes = _changes(rng, levels, components) if rng.random() < 0.15 and levels else ()
    coding = Coding(
        tile=tile,
        tile_offset=(tile_offset[0], tile_offset[1]),
        image_offset=image_offset,
        levels=levels,
        code_block=pick((4, 4), (8, 8), (16, 16), (32, 32), (64, 64), (64, 64), (32, 8), (4, 256)),
        style=pick(0, 0, 0, 1, 2, 4, 4, 5, 8, 16, 32, 20, int(rng.integers(64)), int(rng.integers(64))),
        precincts=precincts,
        progression=pick(*ORDERS),
        changes=changes,
        layers=layers,
        rates=pick((), tuple(map(float, ratios)), (*map(float, ratios[:-1]), 1.0)),
        reversible=bool(rng.random() < 0.6),
        mct=components >= 3 and bool(rng.random() < 0.5),
        bits=bits,
        signed=signed,
        subsampling=_subsampling(rng, components),
        sop=bool(rng.random() < 0.25),
        eph=bool(rng.random() < 0.5),
        plt=True,
        tile_parts=pick("R", "L", "C") if precincts is None and not changes and rng.random() < 0.1 else "",
        raw=True,
    )
    if coding.subsampling and len(set(coding.subsampling)) > 1:
        coding = replace(coding, mct=False)
    if has_small_tile(coding, size):
        coding = replace(coding, sop=False, layers=1, rates=(), levels=min(levels, 2), changes=(), style=0)
    return coding, components, size


def _subsampling(rng: Rng, components: int) -> tuple[tuple[int, int], ...] | None:
    chance = rng.random()
    if chance < 0.84:
        return None
    steps = [(1, 1), (2, 2), (1, 2), (2, 1), (3, 1), (4, 4)]
    if chance < 0.92:
        return (steps[int(rng.integers(1, len(steps)))],) * components
    return tuple(steps[int(rng.integers(len(steps)))] for _ in range(components))


def _changes(rng: Rng, levels: int, components: int) -> tuple[Progression, ...]:
    middle, orders = int(rng.integers(1, levels + 1)), rng.choice(ORDERS, 2)
    return (
        Progression(str(orders[0]), (0, middle), (0, components)),
        Progression(str(orders[1]), (middle, levels + 1), (0, components)),
    )


def _random_pixels(rng: Rng, components: int, size: tuple[int, int], coding: Coding) -> tuple[str, NDArray[np.int32]]:
    low = -(1 << coding.bits - 1) if coding.signed else 0
    high = low + (1 << coding.bits) - 1
    kind = str(rng.choice(list(_KINDS)))
    planes = [np.clip(_KINDS[kind](rng, size, low, high), low, high) for _ in range(components)]
    return kind, np.stack(planes).astype(np.int32)


def _noise(rng: Rng, size: tuple[int, int], low: int, high: int) -> NDArray[Any]:
    return rng.integers(low, high + 1, size)


def _flat(rng: Rng, size: tuple[int, int], low: int, high: int) -> NDArray[Any]:
    return np.full(size, rng.choice([low, (low + high + 1) // 2, (low + high + 1) // 2, high]))


def _spots(rng: Rng, size: tuple[int, int], low: int, high: int) -> NDArray[Any]:
    """Return the middle value, of which no coefficient remains, with some noise in a corner, and spots."""
    plane = np.full(size, (low + high + 1) // 2)
    rows, columns = (int(rng.integers(0, side + 1)) for side in size)
    plane[:rows, :columns] = _noise(rng, (rows, columns), low, high)
    plane[rng.random(size) < 0.002] = high
    return plane


def _landscape(rng: Rng, size: tuple[int, int], low: int, high: int) -> NDArray[Any]:
    painted = _scene()[-size[0] :, -size[1] :]  # with the edge of the swath
    return low + (painted - 1000).clip(0, 3000) * (high - low) // 3000


@lru_cache
def _scene() -> NDArray[np.int64]:
    return np.asarray(landscape.scene(300, bands=["B03"])["B03"], np.int64)


_KINDS: dict[str, Any] = {"noise": _noise, "flat": _flat, "spots": _spots, "landscape": _landscape}
"""Pixels of a component: from random numbers, size, lowest and highest value."""
