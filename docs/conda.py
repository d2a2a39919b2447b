"""environment.yml, the conda-forge recipe and the oldest versions, from the dependencies in pyproject.toml."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NAMES = {"dask[array]": "dask-core", "prometheus-client": "prometheus_client"}
"""Names that differ in conda-forge."""
GROUPS = {
    "for .tif, .nc and .zarr": ("files",),
    "quicker for s3://": ("fast",),
    "for gs:// and az://": ("azure", "gs"),
    "for the notebooks": ("notebook",),
}
"""Extras of the package, by the purpose of their packages."""


OPENJPEG = "openjpeg>=2.5"
OLDEST = ("files", "fast", "gs", "azure")
"""Extras whose oldest versions are tested."""
RECIPE = """\
# For conda-forge: replace the path by url and sha256 of the released sdist, and add recipe-maintainers.
# Generated from pyproject.toml by docs/generate.py; rattler-build build --recipe recipe
schema_version: 1

context:
  version: "{version}"

package:
  name: {name}
  version: ${{{{ version }}}}

source:
  path: ..

build:
  number: 0
  noarch: python
  script: ${{{{ PYTHON }}}} -m pip install . -vv --no-deps --no-build-isolation
  python:
    entry_points:
{entry_points}

requirements:
  host:
    - python ${{{{ python_min }}}}.*
    - pip
{build}
  run:
    - python >=${{{{ python_min }}}}
{run}

tests:
  - python:
      imports:
        - {name}
      pip_check: true
      python_version: ${{{{ python_min }}}}.*
  - script:
      - {name} doctor
      - {name} demo

about:
  summary: "{description}"
  license: {license}
  license_file: LICENSE
"""


def environment() -> str:
    """Return environment.yml."""
    project = _pyproject()["project"]
    name, extras = project["name"], project["optional-dependencies"]
    lines = [f"# conda env create -f environment.yml && conda activate {name}", f"name: {name}"]
    lines += ["channels:", "  - conda-forge", "  - nodefaults", "dependencies:"]
    lines += _lines([f"python{project['requires-python']}", "pip", OPENJPEG, *project["dependencies"]])
    for purpose, groups in GROUPS.items():
        packages = [package for group in groups for package in extras[group]]
        lines += [f"  # {purpose}", *_lines(package for package in packages if not package.startswith(name))]
    return "\n".join([*lines, "  - pip:", "      - -e .", ""])


def recipe() -> str:
    """Return the recipe of conda-forge."""
    data = _pyproject()
    project = data["project"]
    return RECIPE.format(
        **{key: project[key] for key in ("name", "version", "description", "license")},
        entry_points="\n".join(f"      - {name} = {target}" for name, target in project["scripts"].items()),
        build=_spaced(data["build-system"]["requires"]),
        run=_spaced([OPENJPEG, *project["dependencies"]]),
    )


def oldest() -> str:
    """Return the oldest versions allowed, as constraints of pip."""
    project = _pyproject()["project"]
    extras = [package for extra in OLDEST for package in project["optional-dependencies"][extra]]
    pins = [re.sub(r"\[.*?\]|;.*", "", package).replace(">=", "==") for package in [*project["dependencies"], *extras]]
    head = '# Generated from pyproject.toml: pip install ".[test,gs]" --constraint tests/oldest.txt'
    return "\n".join([head, *sorted(pins), ""])


def _pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _spaced(packages: Iterable[str]) -> str:
    """Return packages as the recipe lists them: a space before the version."""
    return "\n".join(re.sub(r"(?<=\w)>=", " >=", f"  {line}", count=1) for line in _lines(packages))


def _lines(packages: Iterable[str]) -> list[str]:
    return [f"  - {re.sub(r'^[^<>=]+', lambda match: NAMES.get(match[0], match[0]), package)}" for package in packages]
