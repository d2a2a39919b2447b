"""Process state: caches, limits and clients, owned by a `Runtime`.

A module declares its state as a function, decorated with `process_state`. The current runtime calls the function once
per arguments and keeps the result. A forked child gets a new, empty runtime, and so takes no lock of its parent.
"""

import contextlib
import functools
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, ClassVar, TypeVar, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
T = TypeVar("T")


class Runtime:
    """Cached results of functions decorated with `process_state`; thread-safe.

    Parameters
    ----------
    forked : bool
        True in a child of `os.fork`, which lacks the threads of its parent.
    """

    current: ClassVar["Runtime"]
    """The runtime of this process."""

    def __init__(self, *, forked: bool = False) -> None:
        self.forked = forked
        self._lock = threading.Lock()  # never held while a function runs
        self._cells: dict[Hashable, OrderedDict[Hashable, _Cell]] = {}

    def get(self, state: Hashable, make: Callable[..., T], arguments: tuple[Any, ...], limit: int | None) -> T:
        """Return the cached result of a call, or call the function.

        The first thread calls it; others with the same arguments wait.
        """
        with self._lock:
            cells = self._cells.setdefault(state, OrderedDict())
            cell = cells.setdefault(arguments, _Cell())
            cells.move_to_end(arguments)
            if limit is not None and len(cells) > limit:
                cells.popitem(last=False)
        value: T = cell.get(make, arguments)
        return value


class _Cell:
    """A cached result; exceptions are not cached."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value: tuple[Any, ...] = ()

    def get(self, make: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if not self._value:
            with self._lock:
                if not self._value:
                    self._value = (make(*arguments),)
        return self._value[0]


def process_state(
    limit: int | None = None,
) -> Callable[[Callable[[*Arguments], T]], Callable[[*Arguments], T]]:
    """Decorate a function: the runtime caches its results by positional arguments.

    Parameters
    ----------
    limit : int, optional
        Results to keep; the least recently used is dropped first.
    """

    def decorate(make: Callable[[*Arguments], T]) -> Callable[[*Arguments], T]:
        @functools.wraps(make)
        def get(*arguments: *Arguments) -> T:
            return Runtime.current.get(get, make, arguments, limit)

        return get

    return decorate


def is_forked() -> bool:
    """Return whether this process is a child of `os.fork`.

    Such a process lacks the threads of its parent.
    """
    return Runtime.current.forked


@contextlib.contextmanager
def fresh_runtime() -> Iterator[Runtime]:
    """Use an empty runtime for this process in a `with` block."""
    before, process = Runtime.current, os.getpid()
    Runtime.current = Runtime(forked=before.forked)
    try:
        yield Runtime.current
    finally:
        if os.getpid() == process:  # a child forked inside the block keeps its own
            Runtime.current = before


def uninterrupted_by_fork() -> contextlib.AbstractContextManager[object]:
    """Make `os.fork` in other threads wait for a `with` block.

    One thread at a time enters the block. For libraries with internal locks, which a child would inherit locked.
    """
    return _fork_gate


def _begin_child() -> None:
    _fork_gate.release()
    Runtime.current = Runtime(forked=True)


Runtime.current = Runtime()
_fork_gate = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_fork_gate.acquire, after_in_parent=_fork_gate.release, after_in_child=_begin_child)
