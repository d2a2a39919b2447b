"""Tables in Markdown, and their sections in the README."""

import operator
import os
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import compress
from pathlib import Path
from typing import Literal, Self

_PACKAGES = ("jp2batch", "glymur", "fsspec", "s3fs", "obstore", "dask", "distributed", "odc-stac", "rasterio", "numpy")


@dataclass(frozen=True, slots=True)
class Demand:
    """A limit of a figure."""

    what: str
    """Description of the figure."""
    figure: float
    """Measured value."""
    sign: Literal["≥", "≤", "<"]
    limit: float
    unit: str = "x"
    aim: float | None = None
    """Aim of the figure."""

    @property
    def met(self) -> bool:
        """True if the figure meets its limit."""
        return bool({"≥": operator.ge, "≤": operator.le, "<": operator.lt}[self.sign](self.figure, self.limit))

    @property
    def cells(self) -> tuple[str, str]:
        """Cells beside the figure: its limit and its aim."""
        return self._told(self.limit), "" if self.aim is None else self._told(self.aim)

    def __str__(self) -> str:
        return f"{self.what}: {self.figure:.3g} {self.unit} ({self.cells[0]} is demanded)"

    def _told(self, limit: float) -> str:
        return f"{self.sign} {limit:g} {self.unit}".rstrip()


DEMANDED = ("demanded", "aim")
"""Columns filled by `cells_of`."""


def cells_of(*demands: Demand | None) -> tuple[str, str]:
    """Return the cells of a row in the columns `DEMANDED`."""
    cells = [demand.cells for demand in demands if demand is not None]
    return ", ".join(least for least, _ in cells), ", ".join(aim for _, aim in cells if aim)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of figures, with notes and limits."""

    head: Sequence[str]
    """Names of the columns."""
    rows: Sequence[Sequence[str]]
    """Cells; numbers stand at the right."""
    notes: Sequence[str] = ()
    """Notes about the figures."""
    demands: Sequence[Demand] = ()
    """Limits of figures."""

    def __str__(self) -> str:
        return "\n\n".join([self.markdown(), *self.notes])

    def without_empty_columns(self) -> Self:
        """Return the table without empty columns."""
        filled = [any(cells) for cells in zip(*self.rows, strict=True)]
        head, *rows = (tuple(compress(line, filled)) for line in (self.head, *self.rows))
        return replace(self, head=head, rows=rows)

    def markdown(self) -> str:
        """Return the table as Markdown with aligned columns."""
        columns = list(zip(self.head, *self.rows, strict=True))
        widths = [max(3, *map(len, column)) for column in columns]
        numeric = [all(re.match(r"[-–≥≤<\d]|$", cell) for cell in cells) for _, *cells in columns]
        lines = [self.head, *self.rows]
        texts = [_line(line, widths, numeric) for line in lines]
        rule = ["-" * (width - 1) + (":" if right else "-") for width, right in zip(widths, numeric, strict=True)]
        return "\n".join([texts[0], _line(rule, widths, numeric), *texts[1:]])


def _line(cells: Iterable[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = (
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, numeric, strict=True)
    )
    return f"| {' | '.join(padded)} |"


def write_section(path: Path, name: str, content: str) -> None:
    """Put text between the marks `<!-- begin NAME -->` and `<!-- end NAME -->` of a file.

    Raises
    ------
    ValueError
        The file has no such marks.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    text = path.read_text(encoding="utf-8")
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{path.name} has no marks {begin} … {end}")
    path.write_text(f"{before}{begin}\n\n{content.strip()}\n\n{end}{after}", encoding="utf-8")


def circumstances() -> str:
    """Return a line with date and machine of a measurement."""
    found = {name: _version(name) for name in _PACKAGES}
    versions = ", ".join(f"{name} {told}" for name, told in found.items() if told)
    machine = f"{_processor()}, {os.cpu_count()} cores, {_memory() / 2**30:.0f} GiB"
    libraries = ", ".join(filter(None, [f"OpenJPEG {_openjpeg()}", _gdal()]))
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"*{datetime.now(UTC):%Y-%m-%d}; {machine}, {system}; {versions}; {libraries}.*"


def seconds(value: float) -> str:
    """Return a time with three significant digits."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def megabytes(value: float) -> str:
    """Return bytes in megabytes."""
    return f"{value / 1e6:.2f}" if value < 10e6 else f"{value / 1e6:.1f}"


def times(value: float) -> str:
    """Return a ratio."""
    return f"{value:.2f} x" if value < 10 else f"{value:.1f} x"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _openjpeg() -> str:
    from jp2batch.image.openjpeg import binding

    return str(binding().version())


def _gdal() -> str | None:
    try:
        import rasterio
    except ImportError:
        return None
    return f"GDAL {rasterio.__gdal_version__}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
