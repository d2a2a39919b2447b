"""Inputs on which the package was wrong: right by every way, at every rlevel, for any window."""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from forced import WAYS, Asked, Way
from judge import Judge, Kind, Verdict, questions
from rewrite import PLT, Codestream, Part, without

from jp2batch.sample.encode import Coding, encode

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"
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
    may_be_refused = path.stem.startswith(MAY_BE_REFUSED)
    verify(list(judge.verdicts(data, reference, WAYS, asked)), *(["refused"] if may_be_refused else []))


TILES, SIDE = 144, 12
"""12 x 12 tiles of 64 x 64 samples."""


def padded(seed: int, padding: int) -> Codestream:
    """Return an image whose tile-parts are longer than their packets: searches need room."""
    pixels = np.random.default_rng(seed).integers(0, 255, (64 * SIDE, 64 * SIDE)).astype(np.uint16)
    stream = encode(pixels, Coding(tile=(64, 64), levels=2, precincts=(64, 64), bits=8, raw=True))
    old = Codestream.parse(without(stream, PLT))
    parts = tuple(Part(p.tile, p.index, p.total, p.segments, p.data + bytes(padding)) for p in old.parts)
    return Codestream(old.boxes, old.segments, parts)


def inside(tile: int) -> Asked:
    """Return a window that one tile holds."""
    row, column = (64 * number for number in divmod(tile, SIDE))
    return 0, ((row + 8, row + 40), (column + 8, column + 40))


@pytest.mark.parametrize("padding", [0, 1000])
@pytest.mark.parametrize("way", WAYS)
def test_of_two_codestreams_the_first_is_read(judge, way: Way, padding):
    data = padded(1, padding).to_bytes() + padded(2, padding).to_bytes()
    reference = judge.reference(data)
    asked = [inside(tile) for tile in (20, 50, 70, 100, 120, 140)]
    verify(list(judge.verdicts(data, reference, [way], asked)), "refused")


@pytest.mark.parametrize("size", [300, 20_000])
@pytest.mark.parametrize("way", WAYS)
def test_a_tile_behind_eoc_is_an_error_at_once(judge, way: Way, size):
    whole = encode(
        np.zeros((768, 768), np.uint16), Coding(tile=(64, 64), levels=2, precincts=(64, 64), bits=8, raw=True)
    )
    parts = (struct.pack(">HHHIBB", 0xFF90, 10, n, 14 + size, 0, 1) + b"\xff\x93" + bytes(size) for n in range(60))
    head = whole[: whole.index(b"\xff\x90\x00\x0a")]
    data = head + b"".join(parts) + b"\xff\xd9" + bytes(84 * (size + 14))
    outcomes = list(judge.outcomes(data, way, [inside(tile) for tile in (60, 100, 143)]))
    assert all("CorruptImage" in outcome.refusal for outcome in outcomes), outcomes
