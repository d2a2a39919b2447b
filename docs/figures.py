"""Generate the tables of the README from figures of the benchmarks' page."""

import re
from pathlib import Path

from benchmarks.table import Table

ROOT = Path(__file__).resolve().parents[1]
_BEGIN = "<!-- begin {}, generated from benchmarks/README.md -->"
_END = "<!-- end {} -->"
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
_SINGLE_TILE = {
    "RPCL, no precincts: overview 512²": "overview, 512 x 512",
    "RPCL, no precincts: window 512²": "window, 512 x 512",
    "RPCL, no precincts: window 512², known": "another window, packet headers known",
}
"""The same, of images of one tile."""


def readme() -> str:
    """Return the README with the current figures of the benchmarks' page."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for name, table in (("figures", _table(page)), ("other figures", _other_table(page))):
        begin, end = _BEGIN.format(name), _END.format(name)
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        assert found, f"the README has no {begin} … {end}"
        text = f"{before}{begin}\n\n{table.markdown()}\n\n{end}{after}"
    return text


def _table(page: str) -> Table:
    """Return the README's table: a line per read, a column per reader."""
    reads = _reads(page, "remote_overviews") | _reads(page, "remote_windows")
    lines = {line: reads[name] for name, line in _LINES.items()} | _batch(page)
    return Table(
        ["of a band of 46 MB, 30 ms away", *_WAYS],
        [[line, *(cells.get(way, "") for way in _WAYS)] for line, cells in lines.items()],
    )


def _other_table(page: str) -> Table:
    """Return the README's table of images of one tile."""
    reads, ways = _reads(page, "single_tile"), list(_WAYS)[:3]
    return Table(
        ["of an image of 253 MB, 30 ms away", *ways],
        [[line, *(reads[name].get(way, "") for way in ways)] for name, line in _SINGLE_TILE.items()],
    )


def _reads(page: str, section: str) -> dict[str, dict[str, str]]:
    """Return time and bytes of each read of a section, by reader."""
    reads: dict[str, dict[str, str]] = {}
    what = ""
    for row in _rows(page, section):
        what = next(iter(row.values())) or what
        # Of several settings of a reader, the last has the most knowledge.
        reads.setdefault(what, {})[_way(row["with"])] = f"{row['time']}, {row['MB']} MB"
    return reads


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
