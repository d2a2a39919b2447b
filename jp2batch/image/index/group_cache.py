"""Cache of row groups of index tables."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from jp2batch.core.runtime import process_state

_LIMIT = 32 << 20  # bytes of all row groups together


class _CachedGroup:
    """A row group, read once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.table: Any = None
        self.weight = 0


class GroupCache:
    """Row groups recently read, by key; thread-safe.

    Parameters
    ----------
    limit : int
        Bytes to keep; the last group is kept even if it is larger.
    """

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit, self._weight = limit, 0
        self._groups: OrderedDict[Hashable, _CachedGroup] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, read: Callable[[], Any]) -> Any:
        """Return a row group, from the cache or read now.

        The first thread reads it; others with the same key wait.
        """
        with self._lock:
            group = self._groups.setdefault(key, _CachedGroup())
            self._groups.move_to_end(key)
        with group.lock:
            if group.table is None:
                try:
                    group.table = read()
                finally:
                    self._weigh(key, group)
            return group.table

    def _weigh(self, key: Hashable, group: _CachedGroup) -> None:
        with self._lock:
            if self._groups.get(key) is not group:  # dropped meanwhile
                return
            if group.table is None:  # it cannot be read
                del self._groups[key]
                return
            group.weight = group.table.nbytes
            self._weight += group.weight
            while self._weight > self._limit and len(self._groups) > 1:
                _, old = self._groups.popitem(last=False)
                self._weight -= old.weight


@process_state()
def group_cache() -> GroupCache:
    """Return the cache of this process."""
    return GroupCache()
