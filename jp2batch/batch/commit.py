"""Store results, then their records, in durable groups."""

import time
from collections.abc import Callable

from jp2batch.batch.outputs import Output
from jp2batch.batch.records.entry import line_of
from jp2batch.batch.records.log import RecordLog
from jp2batch.compute.result import Result
from jp2batch.core.errors import OutputError

_MOST = 1000  # results in a group
_HEAVIEST = 32 << 20  # bytes of values in a group
_LOCAL = (0.05, 1.0)  # limits in seconds between groups on local disks
_REMOTE = (0.5, 5.0)  # the same in stores
_SHARE = 0.05  # share of the time that the disk may take


class Committer:
    """Stores results and records; a record follows its durable output.

    Parameters
    ----------
    output, log : Output, RecordLog
        Where to store results and records, both open.
    check : callable
        Called before each group is written; an exception it raises prevents that.
    on_commit : callable
        Called with each result after its record is durable.
    """

    def __init__(
        self, output: Output, log: RecordLog, check: Callable[[], object], on_commit: Callable[[Result], object]
    ) -> None:
        self._output, self._log, self._check, self._on_commit = output, log, check, on_commit
        self._results: list[Result] = []
        self._held = 0  # bytes of their values
        self._begin = time.monotonic()
        self._least, self._most = _REMOTE if log.is_remote else _LOCAL
        self._due = self._begin + self._least

    def add(self, result: Result) -> None:
        """Store a result; its record follows with the next group.

        Raises
        ------
        OutputError
            The output cannot be written.
        """
        if isinstance(result.error, OutputError):
            raise result.error
        self._results.append(self._output.put(result) if result.error is None else result)
        value = self._results[-1].value
        self._held += 0 if value is None else len(value)
        if len(self._results) >= _MOST or self._held >= _HEAVIEST:
            self.flush()

    def tick(self) -> None:
        """Commit the group if it is due."""
        if self._results and time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> None:
        """Make results durable, then write their records."""
        results, self._results, self._held = self._results, [], 0
        if not results:
            return
        self._check()
        begin = time.monotonic()
        try:
            stored = list(self._output.sync(results))
            self._log.append([line_of(result) for result in stored])
        except KeyboardInterrupt:  # while waiting for the store: there is another attempt before the end
            self._results = results
            raise
        self._output.publish(stored)
        for result in stored:
            self._on_commit(result)
        now = time.monotonic()
        wait = (now - self._begin) / 10 if self._log.is_remote else (now - begin) / _SHARE
        self._due = now + min(self._most, max(self._least, wait))
