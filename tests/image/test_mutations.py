"""A damaged file gives OpenJPEG's pixels or a typed error: at once, and never the end of the process."""

import numpy as np
import pytest
from long_exactness import report

from support.images import PLAIN
from support.mutations import STEPS, Anatomy, Change

BATCH = 20
SEEDS = range(240)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("first", SEEDS[::BATCH])
def test_mutations_are_read_as_openjpeg_does_or_refused(workshops, first):
    found = list(workshops.cases("mutation", range(first, first + BATCH)))
    assert sum(bool(case.verdicts) for case in found) > BATCH // 2
    assert not any(case.failures for case in found), report(found, 0)


@pytest.mark.exhaustive
@pytest.mark.timeout(7200)
def test_many_mutations_are_read_as_openjpeg_does_or_refused(workshops):
    found = list(workshops.cases("mutation", range(1000, 11_000)))
    assert not any(case.failures for case in found), report(found, 0)


ANATOMY = Anatomy.of(PLAIN.data)


def test_the_anatomy_of_a_file_is_known():
    numbers = [int.from_bytes(PLAIN.data[f.start : f.start + f.size]) for f in ANATOMY.fields if f.name == "SOT Isot"]
    assert numbers == [0, 1, 2, 3]
    assert [box.kind for box in ANATOMY.boxes] == ["jP  ", "ftyp", "jp2h", "ihdr", "colr", "jp2c"]
    assert ANATOMY.parts[-1].stop == len(PLAIN.data) - 2  # EOC
    assert [span.kind for span in ANATOMY.segments if span.place == "main"] == ["SIZ", "COD", "QCD", "COM"]


def changes(step) -> list[Change]:
    found = [step(ANATOMY, np.random.default_rng(seed)) for seed in range(40)]
    return [change for change in found if change is not None]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_each_step_damages_a_file(step):
    assert len({change.data for change in changes(step)} - {PLAIN.data}) > 5


def test_lies_about_coding_are_told_from_lies_about_places():
    limited = {change.fact.split()[0] for step in STEPS for change in changes(step) if change.limited}
    assert limited & {"COD", "QCD"}
    assert not limited & {"SOT", "TLM", "PLT", "tile-part", "jp2c", "cut", "EOC"}
