"""environment.yml for conda, from the dependencies in pyproject.toml."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

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


def environment() -> str:
    """Return environment.yml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name, extras = project["name"], project["optional-dependencies"]
    lines = [f"# conda env create -f environment.yml && conda activate {name}", f"name: {name}"]
    lines += ["channels:", "  - conda-forge", "  - nodefaults", "dependencies:"]
    lines += _lines([f"python{project['requires-python']}", "pip", "openjpeg>=2.5", *project["dependencies"]])
    for purpose, groups in GROUPS.items():
        packages = [package for group in groups for package in extras[group]]
        lines += [f"  # {purpose}", *_lines(package for package in packages if not package.startswith(name))]
    return "\n".join([*lines, "  - pip:", "      - -e .", ""])


def _lines(packages: Iterable[str]) -> list[str]:
    return [f"  - {re.sub(r'^[^<>=]+', lambda match: NAMES.get(match[0], match[0]), package)}" for package in packages]
