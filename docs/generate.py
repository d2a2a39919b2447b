"""Update the generated parts of the docs, and strip the notebooks; run as `python docs/generate.py`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import conda
import drawings
import figures
import house
import notebook_form
import pictures
import reference
import stores
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PAGES: dict[str, Callable[[], str]] = {
    "CONTRIBUTING.md": house.contributing,
    "README.md": figures.readme,
    "environment.yml": conda.environment,
    "docs/api.md": reference.python,
    "docs/cli.md": reference.command_line,
    "docs/configuration.md": reference.configuration,
    "docs/reading.md": stores.reading,
    "recipe/recipe.yaml": conda.recipe,
    "tests/oldest.txt": conda.oldest,
    "docs/images/what-is-fetched.svg": drawings.what_is_fetched,
}
"""Generators of pages, by path."""
PICTURES: dict[str, Callable[[], Image.Image]] = {"docs/images/coast.png": pictures.coast}
"""Generators of pictures, by path."""
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))


def texts() -> Iterator[tuple[Path, str]]:
    """Iterate over (path, expected text) of all generated or normalised files."""
    for path, page in PAGES.items():
        yield ROOT / path, page()
    for notebook in NOTEBOOKS:
        yield notebook, notebook_form.normalised(notebook.read_text(encoding="utf-8"))


def main() -> None:
    """Write all files that differ."""
    for path, text in texts():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8", newline="\n")
            print(path.relative_to(ROOT))
    for name, picture in PICTURES.items():
        if not pictures.alike(ROOT / name, shown := picture()):
            shown.save(ROOT / name)
            print(name)


if __name__ == "__main__":
    main()
