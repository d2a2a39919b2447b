"""Build the documentation site: python docs/website.py FOLDER [--execute].

Pages, notebooks and what they link to are copied as they lie in the tree, so that links stay true; then mkdocs makes
HTML of them, with every warning an error. The tables of docs/README.md are the navigation. `--execute` runs the
notebooks first, and shows their pictures on a page of their own.
"""

import argparse
import base64
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
import yaml
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
INDEX = ROOT / "docs" / "README.md"
SOURCES = (
    "*.md",
    "LICENSE",
    "benchmarks/README.md",
    "benchmarks/*.py",
    "deploy/*",
    "docs/*.md",
    "docs/images/*",
    "notebooks/*.ipynb",
)
"""Pages, and files they link to."""


def main() -> None:
    """Build the site as the command line says."""
    parser = argparse.ArgumentParser(description="Build the documentation site.")
    parser.add_argument("folder", type=Path, help="folder of the site")
    parser.add_argument("--execute", action="store_true", help="run the notebooks: minutes")
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        pages = Path(temporary) / "pages"
        copy_pages(pages)
        if options.execute:
            for path in sorted(pages.glob("notebooks/*.ipynb")):
                execute(path)
        (pages / "notebooks" / "README.md").write_text(gallery(pages / "notebooks"), encoding="utf-8")
        build(pages, options.folder.resolve())


def copy_pages(pages: Path) -> None:
    """Copy all sources to a folder of pages."""
    for path in (path for pattern in SOURCES for path in ROOT.glob(pattern)):
        target = pages / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def execute(path: Path) -> None:
    """Run a notebook in a folder of its own, and keep its outputs."""
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}}).execute()
    nbformat.write(notebook, path)


def gallery(folder: Path) -> str:
    """Return a page of all notebooks, each with its first picture, which is written beside it."""
    lines = ["# Notebooks", ""]
    for path in sorted(folder.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        title = (
            next(cell.source for cell in notebook.cells if cell.cell_type == "markdown").splitlines()[0].lstrip("# ")
        )
        lines += [f"## [{title}]({path.name})", ""]
        for picture in list(pictures(notebook))[:1]:
            path.with_suffix(".png").write_bytes(picture)
            lines += [f"[![{title}]({path.stem}.png)]({path.name})", ""]
    return "\n".join(lines)


def pictures(notebook: NotebookNode) -> Iterator[bytes]:
    """Iterate over the pictures among the outputs of a notebook."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if png := output.get("data", {}).get("image/png"):
                yield base64.b64decode(png)


def navigation() -> list[dict[str, Any]]:
    """Return the navigation of mkdocs, from the tables of docs/README.md."""
    guides, notebooks, reference = re.split(
        r"^(?:Notebooks|Reference).*:$", INDEX.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    return [
        {"Home": "README.md"},
        {"Guides": [{"Overview": "docs/README.md"}, *_links(guides)]},
        {"Notebooks": [{"Pictures": "notebooks/README.md"}, *_links(notebooks)]},
        {"Reference": _links(reference)},
        {"Conduct and security": [{"Code of conduct": "CODE_OF_CONDUCT.md"}, {"Security": "SECURITY.md"}]},
    ]


def _links(table: str) -> list[dict[str, str]]:
    """Return the pages that a part of docs/README.md links to, by title."""
    links = re.findall(r"\[([^]]+)\]\(([^)]+\.(?:md|ipynb))\)", table)
    pages = {title: (INDEX.parent / link).resolve().relative_to(ROOT).as_posix() for title, link in links}
    return [{title: page} for title, page in pages.items() if page != "README.md"]


def build(pages: Path, folder: Path) -> None:
    """Run mkdocs; warnings are errors."""
    config = (ROOT / "docs" / "mkdocs.yml").read_text(encoding="utf-8") + yaml.safe_dump({"nav": navigation()})
    (pages.parent / "mkdocs.yml").write_text(config, encoding="utf-8")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    subprocess.run(command, check=True, cwd=pages.parent)  # noqa: S603  # there, plugins put their caches


if __name__ == "__main__":
    main()
