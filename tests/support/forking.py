"""Children of `os.fork`: what they do, within a deadline."""

import contextlib
import faulthandler
import os
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

DEADLINE = 60


def fork_and_do(act: Callable[[], object], deadline: int = DEADLINE) -> str:
    """Do something in a forked child; return "" or the traceback of how it failed, or where it hung."""
    output, own = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks while there are threads
        child = os.fork()
    if not child:
        _do(act, own, deadline)
    os.close(own)
    with os.fdopen(output, "rb") as stream:
        text = stream.read().decode()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return text or ("" if code == 0 else f"exit code {code}")


def _do(act: Callable[[], object], output: int, deadline: int) -> None:
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        faulthandler.register(signal.SIGALRM, output, chain=True)  # which ends the child
        signal.alarm(deadline)
        act()
        os._exit(0)
    except BaseException:  # noqa: BLE001  # a child must not go on as its parent would
        os.write(output, traceback.format_exc().encode())
    finally:
        os._exit(1)


@contextlib.contextmanager
def held_by_a_thread(locks: Iterable[Any], *, at_most: float = DEADLINE) -> Iterator[None]:
    """Let another thread hold locks for the time of a `with` block, or for some seconds at most."""
    taken, end = threading.Event(), threading.Event()

    def hold() -> None:
        with contextlib.ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            taken.set()
            end.wait(at_most)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(DEADLINE)
    try:
        yield
    finally:
        end.set()
        thread.join()
