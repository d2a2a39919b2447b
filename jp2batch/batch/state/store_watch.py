"""Time limits of a run's requests to the store of its output."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

from jp2batch.core.errors import OutputError, StoreUnavailable

_QUIET = 4.0  # seconds until a wait is told
_START = 9.0  # the same before the run has begun: drivers are imported, and listings may be long
_POLL = 0.1  # seconds between checks while a request is made
_PAUSE = 1.0  # seconds between attempts
_FROZEN = 5.0  # seconds between two checks after which this process has not run meanwhile
_LAST = 4.0  # seconds for all requests after an interrupt or an error
_WAITING = "waiting for the store"


class StoreWatch:
    """Limit of the time without an answer of an output's store.

    A helper thread makes the requests of the main thread: a request that hangs, in any driver, does not keep the run
    from its end. Before the run begins, a failed request is not repeated.

    Parameters
    ----------
    output : str
        Name of the output in messages.
    seconds : float
        The limit.
    check : callable
        Called while waiting; an exception it raises ends the wait.
    tell : callable
        Called with a text, when it changes: what the run waits for, or empty.
    """

    def __init__(self, output: str, seconds: float, check: Callable[[], object], tell: Callable[[str], object]) -> None:
        self._output, self._seconds, self._check, self._tell = output, seconds, check, tell
        self._helper: _Helper | None = None
        self._begun, self._text = False, ""
        self._unanswered: float | None = None  # begin of the first request without answer, in another thread
        self._since: float | None = None  # begin of an outage
        self._looked = time.monotonic()
        self._end: float | None = None  # of the last requests

    def begin(self, tell: Callable[[str], object]) -> None:
        """Repeat failed requests from now on."""
        self._tell, self._begun = tell, True

    def note_request(self) -> None:
        """Note a request made by another thread."""
        if self._unanswered is None:
            self._unanswered = time.monotonic()

    def note_answer(self) -> None:
        """Note an answer of the store, in any thread."""
        self._unanswered = None

    def look(self) -> None:
        """Tell if the requests of another thread are not answered.

        Raises
        ------
        OutputError
            The store has not answered for too long.
        """
        now, begin = time.monotonic(), self._unanswered
        if begin is None or now - begin <= _QUIET:
            self._since = None
            self._say("")
        else:
            self._since = self._thawed(self._since or now - _QUIET, now)
            self._say(_WAITING)
            if now - self._since > self._seconds:
                raise self._lost(self._seconds)
        self._looked = now

    def hurry(self) -> None:
        """Give all further requests a few seconds: the run ends."""
        if self._end is None:
            self._end = time.monotonic() + (_PAUSE if self._text else _LAST)  # less, if it does not answer anyway

    def __call__(self, request: Callable[[], Any], *, is_long: bool) -> Any:
        """Make a request; repeat it until the store answers.

        Raises
        ------
        OutputError
            The store has not answered for too long.
        """
        begin = self._looked = time.monotonic()
        try:
            while True:
                self._helper = self._helper or _Helper()
                answer = self._helper.ask(request)
                begin = self._wait(begin, answer, is_long=is_long)
                error = answer.exception()
                if not isinstance(error, StoreUnavailable):
                    break
                if not self._begun:
                    raise error
                begin, is_long = self._wait(time.monotonic() if is_long else begin), False
        except BaseException:
            self._helper = None  # it may hang
            raise
        self._since = self._unanswered = None
        self._say("")
        return answer.result()

    def _wait(self, begin: float, answer: "Future[Any] | None" = None, *, is_long: bool = False) -> float:
        """Wait for an answer, or a moment; return the begin, thawed."""
        until = time.monotonic() + _PAUSE
        while not (answer.done() if answer else time.monotonic() >= until):
            wait([answer], _POLL) if answer else time.sleep(_POLL)
            now = time.monotonic()
            begin, self._looked = self._thawed(begin, now), now
            passed = now - min(begin, self._since or begin)
            if self._end is None:
                self._check()
                if passed > (_QUIET if self._begun else _START):
                    self._say(_WAITING)
            elif now > self._end:
                raise self._lost(_LAST)
            if self._begun and passed > self._seconds and not is_long:
                raise self._lost(self._seconds)
        return begin

    def _thawed(self, begin: float, now: float) -> float:
        """Return a begin without the time of a frozen process."""
        passed = now - self._looked
        return begin + passed if passed > _FROZEN else begin

    def _say(self, text: str) -> None:
        if text != self._text:
            self._text = text
            self._tell(text)

    def _lost(self, seconds: float) -> OutputError:
        self._end = 0.0  # the store is given up
        problem = f"the store does not answer for {seconds:g} s"
        return OutputError(self._output, problem, "check its host and the network, or raise wait_workers=")


class _Helper:
    """A thread for requests, made in turn.

    Python does not wait for it at its end.
    """

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True, name="jp2batch-store").start()

    def ask(self, request: Callable[[], Any]) -> "Future[Any]":
        """Make a request; return its future value."""
        answer: Future[Any] = Future()
        self._requests.put((request, answer))
        return answer

    def _run(self) -> None:
        while True:
            request, answer = self._requests.get()
            try:
                answer.set_result(request())
            except BaseException as error:  # noqa: BLE001  # raised in the other thread
                answer.set_exception(error)
