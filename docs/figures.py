"""Generate the table of the README from figures of the benchmarks' page."""

import re
from pathlib import Path

from benchmarks.table import Table

ROOT = Path(__file__).resolve().parents[1]
_BEGIN, _END = "<!-- begin figures, generated from benchmarks/README.md -->", "<!-- end figures -->"
_WAYS = {
    "jp2batch": ("jp2batch",),
    "GDAL /vsicurl": ("GDAL",),
    "whole file, then glymur": ("whole file", "dask.delayed: whole file"),
    "whole tiles, as jp2io": ("whole tiles",),
}
"""Columns, and prefixes of the names of their readers."""
_LINES = {
    "uneven: overview 687², TLM": "overview, 687 x 687",
    "uneven: overview 687², no TLM": "the same of a file without TLM",
    "uneven: overview 687², no TLM, sibling known": "the same, another band read before",
    "uneven: window 500², TLM": "window, 500 x 500",
    "uneven: window 500², no TLM": "this window of a file without TLM",
    "uneven: window 500², known": "this window, tiles known from an index",
}
"""Names of reads in the benchmarks, and in the README."""


def readme() -> str:
    """Return the README with the current figures of the benchmarks' page."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, found, after = rest.partition(_END)
    assert found, f"the README has no {_BEGIN} … {_END}"
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    return f"{before}{_BEGIN}\n\n{_table(page).markdown()}\n\n{_END}{after}"


def _table(page: str) -> Table:
    """Return the README's table: a line per read, a column per reader."""
    reads: dict[str, dict[str, str]] = {}
    for section in ("remote_overviews", "remote_windows"):
        what = ""
        for row in _rows(page, section):
            what = row["scene: read"] or what
            # Of several settings of a reader, the last has the most knowledge.
            reads.setdefault(what, {})[_way(row["with"])] = f"{row['time']}, {row['MB']} MB"
    lines = {line: reads[name] for name, line in _LINES.items()} | _batch(page)
    return Table(
        ["of a band of 46 MB, 30 ms away", *_WAYS],
        [[line, *(cells.get(way, "") for way in _WAYS)] for line, cells in lines.items()],
    )


def _batch(page: str) -> dict[str, dict[str, str]]:
    """Return the line of the batch; for jp2batch, of files with TLM."""
    rows = _rows(page, "batch_throughput")
    what = next(iter(rows[0]))
    told = [row for row in rows if not row[what].endswith("no TLM")]
    return {what: {_way(row[what]): f"{row['s']} s, {float(row['MB']):.0f} MB" for row in told}}


def _way(name: str) -> str:
    return next(way for way, begins in _WAYS.items() if name.startswith(begins))


def _rows(page: str, section: str) -> list[dict[str, str]]:
    """Return the rows of the table of a section of the benchmarks' page."""
    found = re.search(rf"<!-- begin {section} -->\n(.*?)<!-- end {section} -->", page, re.DOTALL)
    lines = [_cells(line) for line in found[1].splitlines() if line.startswith("|")] if found else []
    assert len(lines) > 2, f"benchmarks/README.md has no figures of {section}"
    return [dict(zip(lines[0], cells, strict=True)) for cells in lines[2:]]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip()[1:-1].split("|")]
