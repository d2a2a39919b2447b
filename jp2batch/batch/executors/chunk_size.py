"""Choose the number of items in a task, from measured times."""

LONGEST = 1.0
"""Intended duration of a task in seconds."""


class ChunkSize:
    """Number of items in a task of about a second.

    It begins with 1, and grows slowly: the next items may be larger.
    """

    MOST = 1000
    """Limit of items in a task."""
    _GROWTH = 4

    def __init__(self) -> None:
        self.items = 1

    def note(self, items: int, seconds: float) -> None:
        """Learn from a task: its number of items, and its time."""
        fitting = int(items * LONGEST / seconds) if seconds * self.MOST > items * LONGEST else self.MOST
        most = min(self.MOST, max(items, self.items if fitting >= self.items else 1) * self._GROWTH)
        self.items = max(1, min(fitting, most))
