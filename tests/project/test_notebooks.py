"""The notebooks run from top to bottom, on what they make themselves, and are kept without what that leaves behind."""

import re
from pathlib import Path
from typing import Any

import nbformat
import notebook_form
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))
SHOWN = {
    "01_first_image": {"image/png": 3, "text/html": 4},
    "02_batch": {"text/html": 5},
    "03_time_series": {"image/png": 2, "text/html": 2},
    "04_service": {"image/png": 1},
    "05_bigger_than_one_machine": {"text/html": 3},
    "06_fields": {"image/png": 3, "text/html": 4},
}
"""What there is to see in each, at least: pictures; tables, plans and reports."""
CLAIMS = {
    "01_first_image": r"^True$",
    "02_batch": r"ImageNotFound: .*there is no such file.*CorruptImage: .*the file is cut short",
    "03_time_series": r"^[\d,]+ of [\d,]+ bytes \([0-4]\.\d%\), in 8 files$",
    "04_service": r"ok.*^True$.*^404 there is no such file.*^400 the path leads out",
    "05_bigger_than_one_machine": r"workers have the same versions.*4 ok, 0 failed.*learned 4 of 4 images",
    "06_fields": r"^\('red', 'nir'\)$",
}
"""What its outputs say, as text."""


def source(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_all_notebooks_are_known():
    index = source(ROOT / "docs" / "README.md")
    assert all(f"(../notebooks/{path.name})" in index for path in NOTEBOOKS)
    assert [path.stem for path in NOTEBOOKS] == sorted(SHOWN) == sorted(CLAIMS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONWARNINGS", "error::UserWarning,error::RuntimeWarning")
    notebook = nbformat.reads(source(path), as_version=4)
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = outputs(notebook)
    kinds = [kind for output in shown for kind in output.get("data", {})]
    assert {kind: kinds.count(kind) >= count for kind, count in SHOWN[path.stem].items()} == dict.fromkeys(
        SHOWN[path.stem], True
    )
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in shown]
    assert re.search(CLAIMS[path.stem], "\n".join(texts), re.MULTILINE | re.DOTALL)
    assert [output.text for output in shown if output.get("name") == "stderr"] == []
    assert left_in(tmp_path) == [f"data/{path.stem}"], "each keeps its data in a folder of its own"


def left_in(folder: Path) -> list[str]:
    """Return what a notebook has left: files in the working folder, and folders in data/."""
    own = {"ipython", "cache", "data"}
    return [path.name for path in folder.iterdir() if path.name not in own] + [
        path.relative_to(folder).as_posix() for path in (folder / "data").iterdir()
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_in_the_one_form(path):
    assert source(path) == notebook_form.normalised(source(path)), "run python docs/generate.py"
    assert outputs(nbformat.reads(source(path), as_version=4)) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_a_story(path):
    cells = nbformat.reads(source(path), as_version=4).cells
    assert cells[0]["cell_type"] == "markdown"
    assert cells[0]["source"].startswith("# ")
    code = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
    assert len(code) <= 12
    assert max(len(line) for text in code for line in text.splitlines()) <= 110


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_links_lead_somewhere(path):
    text = "\n".join(
        cell["source"] for cell in nbformat.reads(source(path), as_version=4).cells if cell["cell_type"] == "markdown"
    )
    links = re.findall(r"\]\((?!https?://)([^)]+)\)", text)
    assert [link for link in links if not (path.parent / link).exists()] == []
