"""Any valid file is read as OpenJPEG decodes the whole of it, whichever way tile-parts are found."""

from collections.abc import Iterator

import numpy as np
import pytest
from long_exactness import report

from jp2batch.core.window import Window
from support.children import Child
from support.forced import Outcome
from support.judge import Reference, judged
from support.mutations import mutation
from support.variants import FEATURES, chosen, variant, with_features
from support.whole_decode import Level, Plane, without_tlm

BATCH = 10
SEEDS = range(180)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("first", SEEDS[::BATCH])
def test_variants_are_read_exactly(workshops, first):
    found = list(workshops.cases("variant", range(first, first + BATCH), windows=2))
    assert sum(bool(case.verdicts) for case in found) > BATCH // 2
    assert not any(case.failures for case in found), report(found, 0)


@pytest.mark.exhaustive
@pytest.mark.timeout(7200)
def test_many_variants_are_read_exactly(workshops):
    found = list(workshops.cases("variant", range(1000, 6000)))
    assert not any(case.failures for case in found), report(found, 0)


@pytest.fixture(scope="module")
def maker() -> Iterator[Child]:
    with Child() as child:
        yield child


@pytest.mark.parametrize("name", FEATURES)
def test_each_feature_makes_files(maker, name):
    assert any(maker.call(with_features, seed, name) for seed in range(200))


def test_each_feature_is_chosen_sooner_or_later():
    assert {name for seed in range(600) for name in chosen(np.random.default_rng(seed))} == set(FEATURES)


def test_a_seed_always_gives_the_same_file(maker):
    with Child() as other:
        assert [maker.call(variant, seed) for seed in range(5)] == [other.call(variant, seed) for seed in range(5)]
        assert [maker.call(mutation, seed) for seed in range(5)] == [other.call(mutation, seed) for seed in range(5)]


def plane(values: object, origin: tuple[int, int] = (0, 0)) -> Plane:
    return Plane(np.asarray(values, np.int32), (1, 1), origin, signed=False, bits=8)


SOUND = Reference(
    (Level(0, (plane([[1, 2], [3, 149]]),), ()), Level(1, (plane([[1]]),), ("odd",)), Level(2, (), (), "no"))
)
VERDICTS = {
    "equal": ((0, None), Outcome(np.array([[[1, 2], [3, 149]]], np.uint8)), "equal"),
    "another sample": ((0, None), Outcome(np.array([[[1, 2], [3, 4]]])), "WRONG"),
    "a wrapped sample": ((0, None), Outcome(np.array([[[1, 2], [3, 149 - 256]]], np.int8)), "WRONG"),
    "another shape": ((0, None), Outcome(np.array([[[1, 2]]])), "WRONG"),
    "another window": ((0, Window((1, 2), (0, 2))), Outcome(np.array([[[1, 2]]])), "WRONG"),
    "the window": ((0, Window((1, 2), (0, 2))), Outcome(np.array([[[3, 149]]])), "equal"),
    "wrong with a warning": ((1, None), Outcome(np.array([[[2]]])), "wrong, warned"),
    "refused": ((0, None), Outcome(refusal="CorruptImage: x"), "refused"),
    "refused with a warning": ((1, None), Outcome(refusal="CorruptImage: x"), "refused, warned"),
    "no sample": ((1, Window((1, 2), (0, 1))), Outcome(refusal="InvalidWindow: x"), "both refuse"),
    "both refuse": ((2, None), Outcome(refusal="CorruptImage: x"), "both refuse"),
    "more": ((2, None), Outcome(np.array([[[1]]])), "more than OpenJPEG"),
    "a bug": ((2, None), Outcome(bug="Traceback\nKeyError: 1"), "UNTYPED"),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_the_judge_tells(name):
    asked, outcome, kind = VERDICTS[name]
    assert judged(asked, outcome, SOUND, None)[0] == kind


def test_windows_of_the_reference_begin_where_t800_says():
    level = Level(1, (plane([[1, 2], [3, 4]], origin=(3, 5)),), ())  # rows 3 to 7, columns 5 to 9, of which 4, 6, 6, 8
    assert level.window(Window((1, 2), (1, 2))).tolist() == [[[1]]]
    assert level.window(Window((0, 1), (0, 4))).size == 0


def test_only_tlm_of_the_main_header_is_made_harmless():
    tlm = bytes.fromhex("ff55000800400000001e")
    header = bytes.fromhex("ff4fff5100020000")[:6] + tlm + bytes.fromhex("ff3fff640004aabb") + tlm
    body = bytes.fromhex("ff90000a00000000000000 01".replace(" ", "")) + tlm
    changed = without_tlm(header + body)
    assert changed == header.replace(b"\xff\x55", b"\xff\x64") + body
