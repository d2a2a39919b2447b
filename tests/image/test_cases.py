"""Inputs on which the package was wrong: right by every way, at every rlevel, for any window."""

import functools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jp2batch.core.window import Window
from jp2batch.sample.encode import Coding, encode
from support.forced import WAYS, Asked, Way
from support.judge import Judge, Kind, Reference, Verdict, questions
from support.rewrite import PLT, SOD, SOT, Codestream, without

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
"""Beside the repository, where there are any."""
FILES = sorted(path for path in CASES.glob("*") if path.suffix in (".jp2", ".j2k"))
MAY_BE_REFUSED = ("coc_before_cod", "signed_palette", "lbox_0_and_second", "tiles_again", "last_tiles_again")
RIGHT: tuple[Kind, ...] = ("both refuse", "equal")
LIES = ("pcrl_codeblock_width_lie",)
"""OpenJPEG decodes garbage without a word; packets that are left out are not checked."""


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge() as judge:
        yield judge


def verify(verdicts: Sequence[Verdict], *more: Kind) -> None:
    wrong = [verdict for verdict in verdicts if verdict.kind not in (*RIGHT, *more)]
    assert not wrong, "\n".join(f"{v.kind} by {v.way}: {v.asked} {v.detail[:300]}" for v in wrong)


@pytest.mark.skipif(not FILES, reason="no such inputs beside the repository")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_inputs_that_were_read_wrongly_are_read_rightly(judge, path):
    data = path.read_bytes()
    reference = judge.reference(data)
    asked = questions(reference, np.random.default_rng(1), windows=20)
    if path.stem in LIES:
        asked = [(0, None)]
    may_be: list[Kind] = ["refused", "refused, warned"] if path.stem.startswith(MAY_BE_REFUSED) else []
    may_be += [] if "jp2h" in path.stem else ["equal, warning lost"]
    verify(list(judge.verdicts(data, reference, WAYS, asked)), *may_be)


TILES, SIDE = 144, 12
"""12 x 12 tiles of 64 x 64 samples."""


@functools.cache
def padded(seed: int, padding: int) -> Codestream:
    """Return an image whose tile-parts are longer than their packets: searches need room."""
    pixels = np.random.default_rng(seed).integers(0, 255, (64 * SIDE, 64 * SIDE)).astype(np.uint16)
    stream = encode(pixels, Coding(tile=(64, 64), levels=2, precincts=(64, 64), bits=8, raw=True))
    old = Codestream.parse(without(stream, PLT))
    return replace(old, parts=tuple(replace(part, data=part.data + bytes(padding)) for part in old.parts))


def inside(tile: int) -> Asked:
    """Return a window that one tile holds."""
    row, column = (64 * number for number in divmod(tile, SIDE))
    return 0, Window((row + 8, row + 40), (column + 8, column + 40))


@pytest.fixture(scope="module", params=[0, 1000], ids=["tight", "padded"])
def two_codestreams(request, judge) -> tuple[bytes, Reference]:
    """Return two codestreams, one behind the other, and OpenJPEG's decode."""
    data = padded(1, request.param).to_bytes() + padded(2, request.param).to_bytes()
    return data, judge.reference(data)


@pytest.mark.parametrize("way", WAYS)
def test_of_two_codestreams_the_first_is_read(judge, two_codestreams, way: Way):
    asked = [inside(tile) for tile in (20, 50, 70, 100, 120, 140)]
    verify(list(judge.verdicts(*two_codestreams, [way], asked)), "refused")


@pytest.fixture(scope="module", params=[300, 20_000])
def eoc_in_the_middle(request) -> bytes:
    """Return a codestream whose EOC stands behind tile 59 of 144; packets are zeros."""
    head = padded(1, 0).to_bytes().partition(b"\xff\x90\x00\x0a")[0]
    length = 14 + request.param
    parts = (struct.pack(">HHHIBBH", SOT, 10, n, length, 0, 1, SOD) + bytes(request.param) for n in range(60))
    return head + b"".join(parts) + b"\xff\xd9" + bytes(84 * length)


@pytest.mark.parametrize("way", WAYS)
def test_a_tile_behind_eoc_is_an_error_at_once(judge, eoc_in_the_middle, way: Way):
    outcomes = list(judge.outcomes(eoc_in_the_middle, way, [inside(tile) for tile in (60, 100, 143)]))
    assert len(outcomes) == 3
    assert all("CorruptImage" in outcome.refusal for outcome in outcomes), outcomes
