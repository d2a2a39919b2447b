"""The page of results, `docs/conformance.md`: its generated sections."""

import platform
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import files
from pathlib import Path

from benchmarks import ROOT
from benchmarks.conformance.drawing import MEANINGS, SIGNS, drawing
from benchmarks.conformance.layouts import Group
from benchmarks.conformance.peers import PEERS
from benchmarks.conformance.survey import VIEWS, Row, Transfer, local_readers
from benchmarks.conformance.verdicts import Kind
from benchmarks.table import Table, write_section

PAGE = ROOT / "docs" / "conformance.md"
DRAWING = ROOT / "docs" / "images" / "conformance.svg"
_COUNTED: tuple[Kind, ...] = ("exact", "other form", "wrong", "refused", "crashed", "hung")


def write(groups: Sequence[Group], rows: Sequence[Row], readers: Sequence[str]) -> None:
    """Write all generated sections, and the drawing."""
    DRAWING.write_text(drawing(groups, rows, readers), encoding="utf-8")
    for name, content in sections(groups, rows, readers).items():
        write_section(PAGE, name, content)


def sections(groups: Sequence[Group], rows: Sequence[Row], readers: Sequence[str]) -> dict[str, str]:
    """Return the generated sections by name."""
    local = local_readers(readers)
    return {
        "counts": f"{_counts(groups, rows, local)}\n\n{_versions()}",
        "matrix": _matrix(groups, rows, local),
        "transfers": str(_transfers(rows, readers)),
        "reasons": _reasons(rows, local),
        "readers": str(
            Table(("reader", "asked as"), [(PEERS[reader].title, PEERS[reader].asked) for reader in readers])
        ),
    }


def _counts(groups: Sequence[Group], rows: Sequence[Row], readers: Sequence[str]) -> Table:
    """Return numbers of views by verdict; of damaged files, of wrong ones only."""
    damaged = {layout.name for group in groups if group.damaged for layout in group.layouts}
    sound = [row for row in rows if row.layout.name not in damaged and row.size]
    lines = []
    for reader in readers:
        found = Counter(verdict.kind for row in sound for verdict in row.verdicts[reader].values())
        of_damaged = [row.verdicts[reader].values() for row in rows if row.layout.name in damaged and row.size]
        wrong = sum(verdict.kind in {"wrong", "crashed", "hung"} for verdicts in of_damaged for verdict in verdicts)
        lines.append((PEERS[reader].title, *(str(found[kind]) for kind in _COUNTED), str(wrong)))
    notes = [f"Views of {len(sound)} valid layouts; the last column: views of {len(rows) - len(sound)} damaged files."]
    return Table(("reader", *_COUNTED, "damaged: wrong"), lines, notes)


def _matrix(groups: Sequence[Group], rows: Sequence[Row], readers: Sequence[str]) -> str:
    """Return a table for each group."""
    by_name = {row.layout.name: row for row in rows}
    parts = []
    for group in groups:
        lines = [
            (layout.name, layout.clause, *(_signs(by_name[layout.name], reader) for reader in readers))
            for layout in group.layouts
        ]
        table = Table(("layout", "T.800", *(PEERS[reader].title for reader in readers)), lines)
        parts.append(f"### {group.title}\n\n{table}")
    return "\n\n".join(parts)


def _signs(row: Row, reader: str) -> str:
    if reader not in row.verdicts:
        return "not made"
    return f"`{' '.join(SIGNS[row.verdicts[reader][view].kind] for view in VIEWS)}`"


def _transfers(rows: Sequence[Row], readers: Sequence[str]) -> Table:
    """Return bytes and requests of windows read remotely."""
    remote = [reader for reader in readers if any(reader in row.transfers for row in rows)]
    lines = [
        (row.layout.name, f"{row.large / 1e6:.1f}", *(_transfer(row.transfers[reader]) for reader in remote))
        for row in rows
        if row.transfers
    ]
    return Table(("layout", "file, MB", *(PEERS[reader].title for reader in remote)), lines)


def _transfer(transfer: Transfer) -> str:
    sign = "" if transfer.verdict.kind == "exact" else f"{SIGNS[transfer.verdict.kind]} "
    return f"{sign}{transfer.bytes / 1e3:,.0f} kB in {transfer.requests}"


def _reasons(rows: Sequence[Row], readers: Sequence[str]) -> str:
    """Return what is not exact, by reader, with the reason and the layouts."""
    parts = []
    for reader in readers:
        lines = [(kind, why, "; ".join(layouts)) for (kind, why), layouts in _by_reason(rows, reader)]
        table = Table(("result", "reason", "layouts"), lines)
        parts.append(f"### {PEERS[reader].title}, not exact\n\n{table if lines else 'Nothing.'}")
    return "\n\n".join(parts)


def _by_reason(rows: Sequence[Row], reader: str) -> Iterator[tuple[tuple[Kind, str], list[str]]]:
    """Iterate over verdicts but exact ones, and their layouts; alike if only numbers differ."""
    texts: dict[tuple[Kind, str], list[str]] = defaultdict(list)
    found: dict[tuple[Kind, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for view, verdict in row.verdicts.get(reader, {}).items():
            if verdict.kind in _COUNTED[1:]:
                key = verdict.kind, re.sub(r"\d+(\.\d+)?", "N", verdict.why)
                texts[key].append(verdict.why)
                found[key][row.layout.name].append(view)
    for key in sorted(found, key=lambda key: (_COUNTED.index(key[0]), -len(found[key]))):
        layouts = [name if len(views) > 1 else f"{name} ({views[0]})" for name, views in found[key].items()]
        text = f"{'e.g. ' * (len(set(texts[key])) > 1)}{texts[key][0]}"
        yield (key[0], text.replace("|", "/").replace("<", "&lt;")), layouts


def _versions() -> str:
    """Return a line with date and versions."""
    packages = {PEERS[reader].package: PEERS[reader].version for reader in PEERS}
    told = ", ".join(f"{name} {version}" if version else f"{name}: not installed" for name, version in packages.items())
    libraries = "; ".join(f"{library} of {package}" for package, library in _libraries())
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"*{datetime.now(UTC):%Y-%m-%d}; {system}; {told}; {libraries}.*"


def _libraries() -> Iterator[tuple[str, str]]:
    """Iterate over packages and the decoders within, as far as they are named."""
    from jp2batch.image.openjpeg import binding

    yield "jp2batch, glymur and the truth", f"OpenJPEG {binding().version()}"
    if PEERS["GDAL"].version:
        import rasterio

        yield (
            "rasterio",
            " ".join([f"GDAL {rasterio.__gdal_version__}", *filter(None, map(_openjpeg, files("rasterio") or ()))]),
        )
    if PEERS["Pillow"].version:
        from PIL import features

        yield "Pillow", f"OpenJPEG {features.version('jpg_2000')}"
    if PEERS["imagecodecs"].version:
        import imagecodecs

        yield "imagecodecs", imagecodecs.jpeg2k_version().replace("openjpeg", "OpenJPEG")


def _openjpeg(path: Path | object) -> str:
    found = re.search(r"libopenjp2.*?\.so\.(\d+\.\d+\.\d+)$", str(path))
    return f"with OpenJPEG {found[1]}" if found else ""


LEGEND = "; ".join(f"`{SIGNS[kind]}` {MEANINGS[kind]}" for kind in SIGNS)
"""The symbols and their meanings."""
