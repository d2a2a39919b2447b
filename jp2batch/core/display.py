"""Pieces of HTML for notebooks: tables, tile grids, bars, pictures. They take the colours of the page around them."""

import base64
import html
from collections.abc import Sequence

__all__ = ["bar", "card", "picture", "stack", "text", "tile_grid"]

Rows = Sequence[tuple[str, str]]

_ACCENT, _SIDE = "#4c9be8", 132  # a blue that is seen on white and on black; pixels of a drawing
_SMALLEST = 0.2  # of a tile's side, that stays visible
_MOST_TILES = 1600  # drawn one by one


def card(title: str, rows: Rows, *figures: str) -> str:
    """Return figures beside a table: what an object shows of itself in a notebook.

    Parameters
    ----------
    title : str
        What it is about, such as a path.
    rows : sequence of (str, str)
        Names and values, as the text of the object has them too.
    *figures : str
        HTML of its figures; empty ones are left out.
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
    """Return the same as plain text: what an object prints."""
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
    """Return a drawing of the tiles of an image, those that are fetched filled; of a lower resolution, in part.

    Parameters
    ----------
    grid : (int, int)
        Rows and columns of tiles.
    rows, columns : (int, int)
        First and last but one of the tiles that are fetched.
    rlevel : int
        Resolution levels dropped: the side of what is filled of each tile is halved with each.
    shape : (int, int)
        Rows and columns of the image, for the drawing's.
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
    """Return a bar of which a part is filled, and below it a label."""
    share = min(1.0, part / whole) if whole else 0.0
    width = max(1.5, share * _SIDE) if part else 0.0
    return (
        f'<svg width="{_SIDE + 2}" height="12" viewBox="-1 -1 {_SIDE + 2} 12" role="img"><title>{html.escape(label)}'
        f'</title><rect width="{_SIDE}" height="10" rx="2" fill="currentColor" fill-opacity=".15"/>'
        f'<rect width="{width:.4g}" height="10" rx="1" fill="{_ACCENT}"/></svg>'
        f'<div style="max-width:{_SIDE}px">{html.escape(label)}</div>'
    )


def picture(png: bytes, caption: str = "") -> str:
    """Return a small picture with its caption; pixels stay pixels where it is enlarged."""
    data = base64.b64encode(png).decode()
    text = html.escape(caption)
    below = f'<div style="max-width:{_SIDE}px;overflow-wrap:anywhere">{text}</div>' if caption else ""
    style = f"width:{_SIDE}px;max-width:none;margin:0;image-rendering:pixelated"
    return f'<img alt="{text or "picture"}" src="data:image/png;base64,{data}" style="{style}">{below}'


def stack(figures: Sequence[str]) -> str:
    """Return figures one below the other; empty ones are left out."""
    return "".join(f'<div style="margin-bottom:6px">{figure}</div>' for figure in figures if figure)


def _filled(rows: tuple[int, int], columns: tuple[int, int], tile: tuple[float, float], rlevel: int) -> str:
    """Return the path of what is filled: the upper left part of each tile, as its low resolutions are drawn."""
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
