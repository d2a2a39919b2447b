"""Images for tests of exactness: generated in every coding, and real if available."""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jp2batch.sample.encode import Coding, encode
from support import rewrite
from support.oracle import Oracle, ceil_div

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
"""Real images beside the repository, if any."""
REAL = sorted(SHARED.glob("**/*.jp2"))

SIZE = (101, 118)
"""Rows and columns of generated images, not multiples of tile sizes."""


@dataclass(frozen=True)
class Made:
    """A generated image: its coding, and changes of its bytes."""

    coding: Coding
    components: int = 1
    changed: tuple[str, ...] = ()
    """Functions of `rewrite`, by name."""

    @functools.cached_property
    def data(self) -> bytes:
        data = encode(texture(self.components, self.coding), self.coding)
        for name in self.changed:
            data = CHANGES[name](data)
        return data

    @functools.cached_property
    def oracle(self) -> Oracle:
        x, y = self.coding.image_offset
        dx, dy = (self.coding.subsampling or ((1, 1),))[0]
        offset = ceil_div(y, dy), ceil_div(x, dx)
        shape = tuple(ceil_div(o + n, d) - ceil_div(o, d) for o, n, d in zip((y, x), SIZE, (dy, dx), strict=True))
        kind = f"{'' if self.coding.signed else 'u'}int{8 if self.coding.bits <= 8 else 16}"
        return Oracle(self.data, offset, (self.components, *shape), kind)


CHANGES: dict[str, Any] = {
    "coc and qcc": rewrite.with_coc_and_qcc,
    "no PLT": lambda data: rewrite.without(data, rewrite.PLT),
    "PLM": rewrite.with_plm,
    "PLT in pieces": lambda data: rewrite.with_plt_pieces(data, largest=7),
    "TLM 0 2": lambda data: rewrite.with_tlm(data, st=0, sp=2),
    "TLM 0 4": lambda data: rewrite.with_tlm(data, st=0, sp=4),
    "TLM 1 2": lambda data: rewrite.with_tlm(data, st=1, sp=2),
    "TLM 1 4": lambda data: rewrite.with_tlm(data, st=1, sp=4),
    "TLM": rewrite.with_tlm,
    "TLM 2 4, several, backwards": lambda data: rewrite.with_tlm(data, st=2, sp=4, entries=2, backwards=True),
    "tile-parts": lambda data: rewrite.with_tile_parts(data, packets=max(3, packets_of_a_tile(data) // 8)),
    "tile-parts interleaved": lambda data: rewrite.with_tile_parts(data, packets=4, interleaved=True),
    "tile-parts, number untold": lambda data: rewrite.with_tile_parts(data, packets=3, total_known=False),
    "tiles backwards": lambda data: rewrite.with_tile_order(data, range(65534, -1, -1)),
    "Psot 0": rewrite.with_last_length_zero,
    "box of 4 bytes": lambda data: rewrite.with_box_length(data, "short"),
    "box of 8 bytes, another behind": lambda data: rewrite.with_box_length(
        data, "long", behind=b"\0\0\0\x10xml <a></a>"[:16]
    ),
}


def packets_of_a_tile(data: bytes) -> int:
    """Return the number of packets of the first tile."""
    return len(rewrite.packet_lengths(rewrite.Codestream.parse(data).parts[0]))


def texture(components: int, coding: Coding) -> NDArray[np.int32]:
    """Return smooth hills with some noise, that use the whole range of the samples."""
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    low = -(1 << coding.bits - 1) if coding.signed else 0
    planes = []
    for index in range(components):
        hills = np.sin(rows / (9 + index)) + np.cos(columns / (13 - index)) + rng.normal(0, 0.15, SIZE)
        scaled = (hills - hills.min()) / np.ptp(hills) * ((1 << coding.bits) - 1)
        planes.append(np.rint(scaled).astype(np.int64) + low)
    return np.stack(planes).astype(np.int32)


FACTORS: dict[str, tuple[Any, ...]] = {
    "progression": ("LRCP", "RLCP", "RPCL", "PCRL", "CPRL"),
    "layers": (1, 3),
    "bands": ((1, False), (3, False), (3, True), (4, True)),
    "reversible": (True, False),
    "plt": (True, False),
    "tlm": (False, True),
    "sop": (False, True),
    "eph": (False, True),
    "precincts": ((32, 32), None, ((64, 32), (16, 16))),
    "tile_parts": ("", "R", "L", "C"),
    "grid": ("tiles", "one tile", "odd tiles", "image offset", "both offsets", "late start", "small tiles"),
    "coc": (False, True),
    "raw": (False, True),
    "samples": ((8, False), (1, False), (12, False), (15, False), (16, False), (8, True), (12, True), (16, True)),
    "levels": (4, 3, 1, 0),
}
"""Factors of the coding."""

_GRIDS: dict[str, dict[str, Any]] = {
    "tiles": {"tile": (64, 64)},
    "one tile": {"tile": None},
    "odd tiles": {"tile": (50, 37)},
    "image offset": {"tile": (64, 64), "image_offset": (13, 7)},
    "both offsets": {"tile": (48, 64), "image_offset": (37, 20), "tile_offset": (16, 8)},
    "late start": {"tile": (48, 64), "image_offset": (61, 35), "tile_offset": (16, 3)},
    "small tiles": {"tile": (16, 16)},
}


def made(**choice: Any) -> Made:
    """Return the image of a choice of all factors."""
    components, mct = choice["bands"]
    bits, signed = choice["samples"]
    divided, plt, tlm = choice["tile_parts"], choice["plt"], choice["tlm"]
    changed = ["coc and qcc"] if choice["coc"] else []
    if divided and (choice["precincts"] is not None or choice["grid"] == "late start"):  # OpenJPEG cannot do both
        changed += ["tile-parts"] + ["no PLT"] * (not plt) + ["TLM"] * tlm
        divided, plt, tlm = "", True, False
    coding = Coding(
        **_GRIDS[choice["grid"]],
        levels=choice["levels"],
        code_block=(16, 16) if choice["precincts"] is not None else (32, 8),
        precincts=choice["precincts"],
        progression=choice["progression"],
        layers=choice["layers"],
        reversible=choice["reversible"] or choice["grid"] == "late start",  # OpenJPEG aborts on one column in 9/7
        mct=mct,
        bits=bits,
        signed=signed,
        sop=choice["sop"],
        eph=choice["eph"],
        plt=plt,
        tlm=tlm,
        tile_parts=divided,
        raw=choice["raw"],
    )
    return Made(coding, components, tuple(changed))


def pairwise_choices() -> list[dict[str, Any]]:
    """Return choices such that each pair of values of two factors occurs in at least one (greedy; deterministic)."""
    names = list(FACTORS)
    pairs = {
        (a, x, b, y)
        for a, b in itertools.combinations(range(len(names)), 2)
        for x in range(len(FACTORS[names[a]]))
        for y in range(len(FACTORS[names[b]]))
    }
    rng = np.random.default_rng(1)
    chosen = []
    while pairs:
        first = min(pairs)
        candidates = []
        for _ in range(60):
            picks = [int(rng.integers(len(FACTORS[name]))) for name in names]
            picks[first[0]], picks[first[2]] = first[1], first[3]
            candidates.append(tuple(picks))
        best = max(candidates, key=lambda picks: len(pairs & _pairs_of(picks)))
        pairs -= _pairs_of(best)
        chosen.append({name: FACTORS[name][pick] for name, pick in zip(names, best, strict=True)})
    return chosen


def _pairs_of(picks: tuple[int, ...]) -> set[tuple[int, int, int, int]]:
    return {(a, picks[a], b, picks[b]) for a, b in itertools.combinations(range(len(picks)), 2)}


def full_product() -> Iterator[dict[str, Any]]:
    """Iterate over all combinations of the factors that bear on where packets lie; the others take turns."""
    crossed = ("progression", "layers", "bands", "reversible", "plt", "precincts", "tile_parts", "grid")
    turning = [name for name in FACTORS if name not in crossed]
    for index, values in enumerate(itertools.product(*(FACTORS[name] for name in crossed))):
        rng = np.random.default_rng(index)
        turns = {name: FACTORS[name][int(rng.integers(len(FACTORS[name])))] for name in turning}
        yield dict(zip(crossed, values, strict=True)) | turns


def choice_id(choice: dict[str, Any]) -> str:
    """Return a name of a choice for test reports."""
    return "-".join(f"{name}={value}" for name, value in choice.items()).replace(" ", "")


PLAIN = Made(Coding(tile=(64, 64), precincts=(32, 32), code_block=(16, 16)))
"""An image of four tiles, coded as ESA codes a band."""
WITH_TLM = replace(PLAIN, coding=replace(PLAIN.coding, tlm=True))
"""The same with TLM."""


MANY_TILES = Made(Coding(tile=(10, 10), levels=2, precincts=(8, 8)))


OTHER = Made(Coding(tile=(16, 16), levels=2, precincts=(8, 8), progression="RPCL"))
