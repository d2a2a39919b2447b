"""The matrix of layouts and readers as a drawing (SVG)."""

from collections.abc import Iterator, Sequence
from html import escape

from benchmarks.conformance.layouts import Group
from benchmarks.conformance.peers import PEERS
from benchmarks.conformance.survey import VIEWS, Row, local_readers
from benchmarks.conformance.verdicts import Kind

SIGNS: dict[Kind, str] = {
    "exact": "=",
    "other form": "≈",
    "wrong": "≠",
    "refused": "–",
    "crashed": "✕",
    "hung": "∞",
    "not offered": "·",
    "not installed": "o",
    "no truth": "?",
}
"""Symbols of verdicts."""
MEANINGS: dict[Kind, str] = {
    "exact": "exact",
    "other form": "the same image in another form",
    "wrong": "wrong samples, without an error",
    "refused": "refused with an error",
    "crashed": "the process crashed",
    "hung": "the process hung",
    "not offered": "not offered",
    "not installed": "not installed",
    "no truth": "OpenJPEG refuses the file: nothing to compare with",
}
"""Meanings of the symbols."""
_COLOURS: dict[Kind, tuple[str, str]] = {
    "exact": ("#cfe6d8", "#1d5b3a"),
    "other form": ("#8fc3ea", "#0b2f4a"),
    "wrong": ("#c8371b", "#ffffff"),
    "refused": ("#f4d27a", "#4a3500"),
    "crashed": ("#17191c", "#ffffff"),
    "hung": ("#5b2a86", "#ffffff"),
    "not offered": ("#fbfbf9", "#7d848d"),
    "not installed": ("#e9ebee", "#646b75"),
    "no truth": ("#e9ebee", "#23262b"),
}
_PAPER, _INK, _GREY = "#fbfbf9", "#23262b", "#565d66"
_SIDE, _LINE, _GAP, _LABEL, _MARGIN, _HEAD, _BETWEEN = 17, 19, 9, 268, 24, 190, 48  # in pixels


def drawing(groups: Sequence[Group], rows: Sequence[Row], readers: Sequence[str]) -> str:
    """Return the matrix in two columns of groups."""
    by_name, readers = {row.layout.name: row for row in rows}, local_readers(readers)
    halves = _halves(groups)
    panel = _LABEL + len(readers) * (3 * _SIDE + _GAP)
    width = 2 * _MARGIN + 2 * (panel + _BETWEEN)
    height = _HEAD + max(map(_height, halves)) + _MARGIN
    parts = [
        part
        for place, half in enumerate(halves)
        for part in _panel(half, by_name, readers, _MARGIN + place * (panel + _BETWEEN))
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
            ' font-family="Helvetica, Arial, sans-serif" font-size="12">',
            "<title>Readers of JPEG 2000 on layouts of files: exact, wrong, refused</title>",
            f'<rect width="{width}" height="{height}" rx="8" fill="{_PAPER}"/>',
            "<defs>",
            *_symbols(),
            "</defs>",
            *_legend(40),
            *parts,
            "</svg>\n",
        ]
    )


def _halves(groups: Sequence[Group]) -> tuple[Sequence[Group], Sequence[Group]]:
    """Divide groups into two columns of similar height."""
    cuts = [(groups[:cut], groups[cut:]) for cut in range(len(groups) + 1)]
    return min(cuts, key=lambda halves: max(map(_height, halves)))


def _height(groups: Sequence[Group]) -> int:
    return sum((len(group.layouts) + 2) * _LINE for group in groups)


def _panel(groups: Sequence[Group], rows: dict[str, Row], readers: Sequence[str], left: int) -> Iterator[str]:
    for index, reader in enumerate(readers):
        x = left + _LABEL + index * (3 * _SIDE + _GAP) + 1.5 * _SIDE
        yield _text(
            x, _HEAD - 10, PEERS[reader].title, f'font-weight="bold" transform="rotate(-55 {x:g} {_HEAD - 10})"'
        )
    y = _HEAD
    for group in groups:
        y += _LINE
        yield _text(left, y + 6, group.title, 'font-weight="bold" font-size="13"')
        y += _LINE
        for layout in group.layouts:
            yield _text(left, y + 10, layout.name)
            for index, reader in enumerate(readers):
                x = left + _LABEL + index * (3 * _SIDE + _GAP)
                yield from _cells(rows.get(layout.name), reader, x, y - 3)
            y += _LINE


def _cells(row: Row | None, reader: str, left: int, top: int) -> Iterator[str]:
    if row is None or reader not in row.verdicts:
        yield _text(left + 1.5 * _SIDE, top + 13, "not made", f'text-anchor="middle" font-size="10" fill="{_GREY}"')
        return
    for place, view in enumerate(VIEWS):
        verdict = row.verdicts[reader][view]
        told = f"{PEERS[reader].title}, {view}: {verdict.kind}: {verdict.why}" if verdict.why else ""
        yield _cell(left + place * _SIDE, top, verdict.kind, told)


def _cell(x: float, y: float, kind: Kind, told: str = "") -> str:
    cell = f'<use href="#{kind.replace(" ", "-")}" x="{x:g}" y="{y:g}"/>'
    return f"<g><title>{escape(told)}</title>{cell}</g>" if told else cell


def _symbols() -> Iterator[str]:
    """Iterate over the cells of all kinds, each defined once."""
    side = _SIDE - 1
    for kind, (fill, ink) in _COLOURS.items():
        yield f'<g id="{kind.replace(" ", "-")}"><rect width="{side}" height="{side}" rx="2" fill="{fill}"/>'
        yield f'<text x="{side / 2:g}" y="12" text-anchor="middle" fill="{ink}">{SIGNS[kind]}</text></g>'


def _legend(top: int) -> Iterator[str]:
    x = float(_MARGIN)
    for kind in ("exact", "other form", "wrong", "refused", "crashed", "hung", "not offered"):
        yield _cell(x, top - 12, kind)
        yield _text(x + _SIDE + 5, top, MEANINGS[kind])
        x += _SIDE + 30 + 6.3 * len(MEANINGS[kind])
    yield _text(
        _MARGIN, top + 24, "Three cells a reader: the whole image, its lowest resolution, a window.", f'fill="{_GREY}"'
    )


def _text(x: float, y: float, text: str, more: str = "") -> str:
    fill = "" if "fill=" in more else f' fill="{_INK}"'
    return f'<text x="{x:g}" y="{y:g}"{fill} {more}>{escape(text)}</text>'.replace(" >", ">")
