"""Shapes of tag trees (T.800 B.10.2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True, eq=False)
class TagTreeShape:
    """Nodes of a tag tree: leaves in raster order, then higher levels.

    Lists of values of the nodes have one element more, at index -1: the parent of the root.
    """

    leaves: int
    """Number of leaves."""
    parents: tuple[int, ...]
    """Parent of each node; -1 for the root."""

    @property
    def size(self) -> int:
        """Number of nodes."""
        return len(self.parents)

    def open_path(self, values: Sequence[int], node: int) -> tuple[list[int], int]:
        """Return the undetermined nodes down to a node, and the value above.

        A determined value v is stored as ~v.
        """
        path = list[int]()
        while values[node] >= 0:
            path.append(node)
            node = self.parents[node]
        return path[::-1], ~values[node]


@lru_cache(maxsize=256)
def tag_tree_shape(width: int, height: int) -> TagTreeShape:
    """Return the shape of a tag tree over `height` x `width` leaves."""
    parents: list[int] = []
    columns, rows, first = width, height, 0
    while columns * rows > 1:
        above, across = first + columns * rows, (columns + 1) // 2
        parents += [above + (row >> 1) * across + (column >> 1) for row in range(rows) for column in range(columns)]
        columns, rows, first = across, (rows + 1) // 2, above
    parents += [-1] * (columns * rows)
    return TagTreeShape(width * height, tuple(parents))
