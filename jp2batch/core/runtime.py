"""The state of this process: caches, limits and clients, all owned by one `Runtime`.

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
    """Results of functions that are decorated with `process_state`; thread-safe.

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
        self._cells: dict[Callable[..., Any], OrderedDict[Hashable, _Cell]] = {}

    def get(self, make: Callable[..., T], arguments: tuple[Any, ...], limit: int | None = None) -> T:
        """Return the result of a call: made by the first thread, while others with the same arguments wait."""
        with self._lock:
            cells = self._cells.setdefault(make, OrderedDict())
            cell = cells.setdefault(arguments, _Cell())
            cells.move_to_end(arguments)
            if limit is not None and len(cells) > limit:
                cells.popitem(last=False)
        value: T = cell.get(make, arguments)
        return value


class _Cell:
    """One result; an exception is not kept."""

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
    """Decorate a function: the runtime calls it once per arguments, which are positional.

    Parameters
    ----------
    limit : int, optional
        Results to keep; the least recently used is dropped first.
    """

    def decorate(make: Callable[[*Arguments], T]) -> Callable[[*Arguments], T]:
        @functools.wraps(make)
        def get(*arguments: *Arguments) -> T:
            return Runtime.current.get(make, arguments, limit)

        return get

    return decorate


def is_forked() -> bool:
    """Return whether this process is a child of `os.fork`, without the threads of its parent."""
    return Runtime.current.forked


@contextlib.contextmanager
def fresh_runtime() -> Iterator[Runtime]:
    """Replace the runtime of this process in a `with` block: nothing is cached at its start."""
    before, process = Runtime.current, os.getpid()
    Runtime.current = Runtime(forked=before.forked)
    try:
        yield Runtime.current
    finally:
        if os.getpid() == process:  # a child that was forked inside the block keeps its own
            Runtime.current = before


def uninterrupted_by_fork() -> contextlib.AbstractContextManager[object]:
    """Let `os.fork` in other threads wait for a `with` block; one thread at a time.

    For libraries with locks of their own that a child would inherit, and never see released.
    """
    return _fork_gate


def _begin_child() -> None:
    _fork_gate.release()
    Runtime.current = Runtime(forked=True)


Runtime.current = Runtime()
_fork_gate = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_fork_gate.acquire, after_in_parent=_fork_gate.release, after_in_child=_begin_child)
