"""The demo: one run of it, as anybody would run it."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import jp2batch
from jp2batch.cli import main
from jp2batch.cli.demo import BANDS, DATES, Demo, run_demo


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Return a folder where the demo has been run, with what it said beside it."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="session")
def done(folder) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "jp2batch", "demo"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def made(done, folder, monkeypatch) -> Path:
    """Stand where the demo was run; return what it made."""
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(folder)
    return Path("jp2batch-demo")


def test_it_says_what_it_does(done):
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("jp2batch: ") and len(line) < 160 for line in done.stderr.splitlines())
    assert re.search(r"http://127\.0\.0\.1:\d+/status", done.stderr)
    assert "8: 8 ok, 0 failed" in done.stdout
    fetched = re.search(r"fetched +[\d.]+ MB of [\d.]+ MB \(([\d.]+)%\)", done.stdout)
    assert 20 < float(fetched[1]) < 35


def test_its_manifest_is_one(made):
    requests = jp2batch.read_manifest(made / "manifest.csv", root=str(made))
    expected = [(band, f"{date:%Y-%m-%d}") for date in DATES for band in BANDS]
    assert [tuple(dict(request.columns).values()) for request in requests] == expected
    assert len({request.id for request in requests}) == len(expected)
    for request, (band, _) in zip(requests, expected, strict=True):
        assert Path(request.url).is_file()
        assert jp2batch.inspect(request.url).shape == (1098, 1098)
        assert band in request.path


def test_its_picture_has_a_cell_for_each_image(made):
    with Image.open(made / "contact-sheet.png") as image:
        pixels = np.asarray(image.convert("L"))
    rows, columns = len(DATES), len(BANDS)
    assert pixels.shape == (14 + rows * 300, 14 + columns * 274)
    cells = [
        pixels[14 + 300 * row :, 14 + 274 * column :][:260, :260] for row in range(rows) for column in range(columns)
    ]
    assert all(cell.std() > 30 and 40 < np.median(cell) < 220 for cell in cells)
    assert len({cell.tobytes() for cell in cells}) == len(cells)


def test_what_it_suggests_works(done, made, tmp_path):
    read, *code = (line.strip() for line in done.stdout.partition("Next, ")[2].splitlines()[1:])
    program, *arguments = shlex.split(read)
    assert program == "jp2batch"
    part = tmp_path / "part.png"
    assert CliRunner().invoke(main, [*arguments[:-1], str(part)]).exit_code == 0
    with Image.open(part) as image:
        assert image.size == (500, 500)
    pytest.importorskip("pandas")
    names = {}
    exec("\n".join([*code[:-1], f"table = {code[-1]}"]), names)
    assert list(names["table"]["status"]) == ["ok"] * 8


def test_a_later_demo_overwrites_an_earlier_one_and_nothing_else(tmp_path):
    folder = tmp_path / "a folder's name"
    first, said = run_demo(folder, size=240), []
    theirs = folder / "notes.ipynb"
    theirs.write_text("mine")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    again = run_demo(folder, size=240, say=said.append)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert isinstance(again, Demo)
    assert first.sheet == again.sheet
    assert len(said) == len(DATES) + 2


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "README.txt").write_text("a diary")
    done = CliRunner().invoke(main, ["demo", str(tmp_path)])
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "holds other things" in done.stderr
    assert [path.read_text() for path in tmp_path.iterdir()] == ["a diary"]


@pytest.mark.parametrize(
    ("name", "said"), [("file", "this is a file"), ("s3://bucket/demo", "local folders only"), ("file/below", "")]
)
def test_what_is_no_folder_is_refused_in_one_line(name, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    done = CliRunner().invoke(main, ["demo", name])
    assert done.exit_code in (1, 2)
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert said in done.stderr
    assert list(Path.cwd().iterdir()) == [tmp_path / "file"]
