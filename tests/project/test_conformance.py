"""The conformance page has all layouts, and its command makes it; jp2batch is never wrong."""

import os
import re
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import ROOT
from benchmarks.conformance import child, page
from benchmarks.conformance.canvas import PLAIN, QUICK_SIZE, Canvas
from benchmarks.conformance.child import Outcome, View, outcomes
from benchmarks.conformance.drawing import SIGNS, drawing
from benchmarks.conformance.layouts import Layout, groups
from benchmarks.conformance.peers import PEERS
from benchmarks.conformance.survey import VIEWS, local_readers, survey
from benchmarks.conformance.truth import Form, truth_of
from benchmarks.conformance.verdicts import judge
from jp2batch.core.window import Window

TEXT = page.PAGE.read_text(encoding="utf-8")
LAYOUTS = [layout for group in groups() for layout in group.layouts]
SMALL = Canvas(QUICK_SIZE)


def section(name: str) -> str:
    return TEXT.partition(f"<!-- begin {name} -->")[2].partition(f"<!-- end {name} -->")[0]


def table_rows(text: str) -> list[dict[str, str]]:
    """Return the rows of all tables, by the names of their columns."""
    found: list[dict[str, str]] = []
    for block in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        head, _, *lines = ([cell.strip(" `") for cell in line.strip("|").split("|")] for line in block.splitlines())
        found += [dict(zip(head, cells, strict=True)) for cells in lines]
    return found


LOCAL = [PEERS[name].title for name in local_readers(list(PEERS))]
MATRIX = table_rows(section("matrix"))


def layout(name: str) -> Layout:
    return next(layout for layout in LAYOUTS if layout.name == name)


def test_the_page_has_the_declared_layouts_and_readers():
    assert [(row["layout"], row["T.800"]) for row in MATRIX] == [(layout.name, layout.clause) for layout in LAYOUTS]
    assert list(MATRIX[0])[2:] == LOCAL
    assert re.findall(r"^### (.+)$", section("matrix"), re.MULTILINE) == [group.title for group in groups()]
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS) >= 40


def test_jp2batch_is_never_wrong_on_the_page():
    damaged = {layout.name for group in groups() if group.damaged for layout in group.layouts}
    allowed = {True: {SIGNS["exact"], SIGNS["refused"]}, False: {SIGNS["exact"]}}
    own = {row["layout"]: set(row["jp2batch"].split()) for row in MATRIX}
    others = {name for name, signs in own.items() if not signs <= allowed[name in damaged]}
    assert others == {"4:2:2, sYCC", "4:2:0, sYCC"}  # refused: the components have several sizes
    assert {sign for name in others for sign in own[name]} == {SIGNS["refused"]}
    assert not [row for row in table_rows(section("transfers")) if not row["jp2batch"][0].isdigit()]


def test_every_symbol_is_explained():
    used = {sign for row in MATRIX for reader in LOCAL for sign in row[reader].split()}
    explained = set(re.findall(r"`(.)`", TEXT.partition("## The matrix")[2].partition("<!--")[0]))
    assert used <= set(SIGNS.values())
    assert used <= explained


@pytest.mark.parametrize("name", [layout.name for layout in LAYOUTS])
def test_each_layout_can_be_made(name):
    made = layout(name)
    if made.needs:
        pytest.importorskip(made.needs)
    data = made.make(SMALL)
    assert b"\xff\x4f" in data
    assert data.startswith(b"\xff\x4f") == made.raw
    assert made.make(SMALL) == data


def test_a_part_of_the_page_is_made_again():
    names = {"LRCP, one layer, PLT (as Sentinel-2)": "exact", "pclr and cmap: a palette": "exact", "no QCD": "refused"}
    pattern = "|".join(f"^{re.escape(name)}$" for name in names)
    few = [group for group in (group.matching(pattern) for group in groups()) if group.layouts]
    rows = list(survey(few, SMALL, ["jp2batch", "Pillow"], remote=False))
    assert {row.layout.name: row.verdicts["jp2batch"]["full"].kind for row in rows} == names
    assert [row.verdicts["Pillow"]["full"].kind for row in rows] == ["other form", "other form", "refused"]
    assert {row.verdicts["Pillow"]["window"].kind for row in rows} == {"not offered"}
    made = page.sections(few, rows, ["jp2batch", "Pillow"])
    assert [row["layout"] for row in table_rows(made["matrix"])] == list(names)
    assert "scaled to 16 bits" in made["reasons"]
    assert drawing(few, rows, ["jp2batch", "Pillow"]).count("<use ") > 3 * 2 * len(VIEWS)


def test_a_crash_or_a_hang_costs_a_view(monkeypatch, tmp_path):
    fatal = textwrap.dedent(
        """
        import dataclasses, os, time
        from benchmarks.conformance import child
        import numpy as np
        def read(path, rlevel, window):
            if rlevel == 1:
                os.abort()
            if rlevel == 2:
                time.sleep(60)
            return [np.zeros((1, 1))]
        child.PEERS = {"Pillow": dataclasses.replace(child.PEERS["Pillow"], make=lambda: read)}
        child.main()
        """
    )
    monkeypatch.setattr(child, "COMMAND", [sys.executable, "-c", fatal])
    monkeypatch.setitem(PEERS, "Pillow", replace(PEERS["Pillow"], offers=("full", "crash", "last", "hang")))
    places = {"full": 0, "crash": 1, "other": 0, "last": 0, "hang": 2}
    views = [View(name, place, None) for name, place in places.items()]
    found = outcomes("Pillow", str(tmp_path), views, deadline=3)
    assert [outcome.fate for outcome in found] == ["read", "crashed", "not offered", "read", "hung"]
    assert found[1].words == "SIGABRT"


def test_a_reader_without_package_is_not_installed(monkeypatch, tmp_path):
    monkeypatch.setitem(PEERS, "osml", replace(PEERS["osml"], package="no-such-package"))
    assert [outcome.fate for outcome in outcomes("osml", str(tmp_path), [View("full", 0, None)])] == ["not installed"]


def plain(values: np.ndarray, bits: int = 12) -> Form:
    return Form("", (values,), (bits,), False, ((1, 1),))


def test_other_forms_are_no_errors():
    values = np.array([[0, 1, 4095], [7, 8, 9]], np.int32)
    judged = {
        name: judge(Outcome("read", [planes]), [plain(values)])
        for name, planes in {
            "same": values.astype(np.uint16),
            "scaled": values << 4,
            "reduced": np.minimum((values + 8) >> 4, 255),
            "wrapped": ((values + 8) >> 4) & 255,
            "short": values[:1],
        }.items()
    }
    assert {name: verdict.kind for name, verdict in judged.items()} == {
        "same": "exact",
        "scaled": "other form",
        "reduced": "other form",
        "wrapped": "wrong",
        "short": "wrong",
    }
    assert judged["wrapped"].why.endswith("(reduced to 8 bits)")
    assert judged["short"].why == "1 x 1 x 3 rather than 1 x 2 x 3"
    assert judge(Outcome("read", [values]), []).kind == "no truth"


def test_the_truth_is_the_image_that_was_coded():
    canvas = Canvas()
    truth = truth_of(canvas.coded(PLAIN))
    window = truth.window(1)
    assert isinstance(window, Window)
    assert truth.lowest == PLAIN.levels
    np.testing.assert_array_equal(truth.levels[0][0].planes[0], canvas.pixels(PLAIN)[0])
    np.testing.assert_array_equal(truth.view(0, window)[0].planes[0], canvas.pixels(PLAIN)[0, 100:230, 110:290])


def test_an_unknown_reader_is_refused():
    command = [sys.executable, "-m", "benchmarks.conformance", "--readers", "nothing"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no such reader: nothing; there are jp2batch, " in done.stderr
