"""Stop a run with too many failures, or a common cause."""

import re

from jp2batch.compute.result import Result
from jp2batch.core.errors import (
    ConfigurationError,
    ImageNotFound,
    InvalidRequest,
    Jp2BatchError,
    PermissionDenied,
    StorageError,
    TooManyFailures,
)

_ALIKE = 10  # first items that fail alike until the run stops
_JUDGED_FROM = 100  # finished items until a percentage applies
_LIMIT = re.compile(r"(\d+(?:\.\d+)?)(%?)")


class FailureLimit:
    """Count results; end the run if too many failed.

    Parameters
    ----------
    most : str or int, optional
        Failures allowed: a number, or a percentage of the finished items, such as "5%", which applies from 100 finished
        items on. By default a run stops only if its first 10 items fail alike, for a reason that others will share:
        credentials, a missing bucket, the configuration.

    Raises
    ------
    InvalidRequest
        `most` is neither.
    """

    def __init__(self, most: str | int | None) -> None:
        self._most, self._share = _parsed(most)
        self._finished, self._failed = 0, 0
        self._first: Jp2BatchError | None = None
        self._may_share = most is None

    def add(self, result: Result) -> None:
        """Count a result.

        Raises
        ------
        TooManyFailures
            The run shall stop.
        """
        error = result.error if result.status == "failed" else None
        self._finished += 1
        self._failed += error is not None
        if self._may_share:
            self._compare(error)
        if self._most is not None and self._failed > self._most:
            self._stop(f"more than {self._most:g}")
        if self._share is not None and self._finished >= _JUDGED_FROM and self._failed > self._share * self._finished:
            self._stop(f"more than {100 * self._share:g} % of the {self._finished} finished items")

    def _stop(self, limit: str) -> None:
        problem = f"{self._failed} items failed, {limit}"
        raise TooManyFailures("", problem, "see the errors in the records, or raise max_failures=")

    def _compare(self, error: Jp2BatchError | None) -> None:
        """Stop if the first items have failed alike."""
        self._first = first = self._first or error
        if first is None or error is None or not _is_shared(error) or error.problem != first.problem:
            self._may_share = False
        elif self._failed >= _ALIKE:
            problem = f"the first {_ALIKE} items failed alike: {first.problem}"
            raise TooManyFailures(first.path, problem, first.hint)


def _is_shared(error: Jp2BatchError) -> bool:
    """Return whether other items are likely to fail alike."""
    if isinstance(error, PermissionDenied | ConfigurationError) or type(error) is StorageError:
        return True
    return isinstance(error, ImageNotFound) and "NoSuchBucket" in error.problem


def _parsed(most: str | int | None) -> tuple[float | None, float | None]:
    """Return the allowed number and share of failures; None without limit."""
    if most is None:
        return None, None
    match = _LIMIT.fullmatch(str(most).strip())
    if match is None or (match[2] and float(match[1]) > 100):
        raise InvalidRequest("", "max_failures= is neither a number nor a percentage", 'give e.g. 20 or "5%"')
    return (None, float(match[1]) / 100) if match[2] else (float(match[1]), None)
