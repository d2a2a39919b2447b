"""HTML for notebooks: tables, tile grids, bars, pictures.

They take the colours of the page around them.
"""

import base64
import html
from collections.abc import Sequence

Rows = Sequence[tuple[str, str]]

_ACCENT, _SIDE = "#4c9be8", 132  # a blue visible on white and on black; side of a drawing in pixels
_SMALLEST = 0.2  # smallest filled part of a tile's side that stays visible
_MOST_TILES = 1600  # limit for drawing tiles separately


def card(title: str, rows: Rows, *figures: str) -> str:
    """Return the HTML of an object: figures beside a table.

    Parameters
    ----------
    title : str
        Title of the card, such as a path.
    rows : sequence of (str, str)
        Names and values, as in the text of the object.
    *figures : str
        HTML of its figures; empty strings are left out.
    """
    cells = "".join(
        '<tr style="background:none"><th style="text-align:left;vertical-align:top;padding:1px 10px 1px 0;'
        f'opacity:.65;font-weight:normal">{html.escape(name)}</th>'
        f'<td style="text-align:left;padding:1px 0">{html.escape(value)}</td></tr>'
        for name, value in rows
    )
    shown = "".join(f'<div style="flex:none">{figure}</div>' for figure in figures if figure)
    return (
        f'<div class="jp2batch" style="font-size:.9em"><div style="font-weight:bold;overflow-wrap:anywhere">'
        f"{html.escape(title)}</div>"
        f'<div style="display:flex;gap:16px;align-items:flex-start;flex-wrap:wrap;margin-top:4px">{shown}'
        f'<table style="border:none;margin:0">{cells}</table></div></div>'
    )


def text(title: str, rows: Rows) -> str:
    """Return the text of an object: title, names and values."""
    width = max(len(name) for name, _ in rows)
    return "\n".join([title, *(f"  {name:<{width}}  {value}" for name, value in rows)])


def tile_grid(
    grid: tuple[int, int],
    rows: tuple[int, int] = (0, 0),
    columns: tuple[int, int] = (0, 0),
    *,
    rlevel: int = 0,
    shape: tuple[int, int] = (1, 1),
) -> str:
    """Return a drawing of an image's tiles with the fetched tiles filled.

    At a lower resolution, only part of each tile is filled.

    Parameters
    ----------
    grid : (int, int)
        Rows and columns of tiles.
    rows, columns : (int, int)
        Start and stop of the fetched tiles.
    rlevel : int
        Resolution levels dropped; each halves the side of the filled part of a tile.
    shape : (int, int)
        Rows and columns of the image, for the proportions of the drawing.
    """
    high, wide = (_SIDE * side / max(shape) for side in shape)
    high, wide = max(high, _SIDE / 4), max(wide, _SIDE / 4)
    tall, broad = high / grid[0], wide / grid[1]
    lines = "".join(f"M0 {row * tall:.4g}H{wide:.4g}" for row in range(grid[0] + 1)) + "".join(
        f"M{column * broad:.4g} 0V{high:.4g}" for column in range(grid[1] + 1)
    )
    fetched = f"{max(0, rows[1] - rows[0]) * max(0, columns[1] - columns[0])} of {grid[0] * grid[1]} tiles"
    return (
        f'<svg width="{wide + 2:.4g}" height="{high + 2:.4g}" viewBox="-1 -1 {wide + 2:.4g} {high + 2:.4g}" role="img">'
        f"<title>{fetched}</title>"
        f'<path d="{_filled(rows, columns, (tall, broad), rlevel)}" fill="{_ACCENT}"/>'
        f'<path d="{lines}" fill="none" stroke="currentColor" stroke-opacity=".45" stroke-width=".6"/></svg>'
    )


def bar(part: int, whole: int, label: str) -> str:
    """Return a bar, filled by `part` of `whole`, above a label."""
    share = min(1.0, part / whole) if whole else 0.0
    width = max(1.5, share * _SIDE) if part else 0.0
    return (
        f'<svg width="{_SIDE + 2}" height="12" viewBox="-1 -1 {_SIDE + 2} 12" role="img"><title>{html.escape(label)}'
        f'</title><rect width="{_SIDE}" height="10" rx="2" fill="currentColor" fill-opacity=".15"/>'
        f'<rect width="{width:.4g}" height="10" rx="1" fill="{_ACCENT}"/></svg>'
        f'<div style="max-width:{_SIDE}px">{html.escape(label)}</div>'
    )


def picture(png: bytes, caption: str = "") -> str:
    """Return a small picture with its caption, enlarged without smoothing."""
    data = base64.b64encode(png).decode()
    text = html.escape(caption)
    below = f'<div style="max-width:{_SIDE}px;overflow-wrap:anywhere">{text}</div>' if caption else ""
    style = f"width:{_SIDE}px;max-width:none;margin:0;image-rendering:pixelated"
    return f'<img alt="{text or "picture"}" src="data:image/png;base64,{data}" style="{style}">{below}'


def stack(figures: Sequence[str]) -> str:
    """Return figures stacked vertically; empty strings are left out."""
    return "".join(f'<div style="margin-bottom:6px">{figure}</div>' for figure in figures if figure)


def _filled(rows: tuple[int, int], columns: tuple[int, int], tile: tuple[float, float], rlevel: int) -> str:
    """Return the SVG path of the filled parts of tiles.

    The upper left part of each tile is filled.
    """
    tall, broad = tile
    part = max(_SMALLEST, 0.5**rlevel)
    if rlevel == 0 or (rows[1] - rows[0]) * (columns[1] - columns[0]) > _MOST_TILES:
        high, wide = (rows[1] - rows[0]) * tall, (columns[1] - columns[0]) * broad
        return f"M{columns[0] * broad:.4g} {rows[0] * tall:.4g}h{wide:.4g}v{high:.4g}h{-wide:.4g}z"
    return "".join(
        f"M{column * broad:.4g} {row * tall:.4g}h{broad * part:.3g}v{tall * part:.3g}h{-broad * part:.3g}z"
        for row in range(*rows)
        for column in range(*columns)
    )


def format_bytes(size: int) -> str:
    """Format a size in bytes for people: "3.05 MB"."""
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):  # the unit reached is the result
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"


def share(part: int, whole: int) -> str:
    """Format a share of bytes: "3.05 MB of 61 MB (5.00%)"."""
    percent = f" ({part / whole:.2%})" if whole else ""
    return f"{format_bytes(part)} of {format_bytes(whole)}{percent}"
