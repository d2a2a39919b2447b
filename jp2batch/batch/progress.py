"""Show a progress bar in terminals and notebooks."""

import contextlib
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

from jp2batch.batch.report import BatchSummary
from jp2batch.compute.checked_cluster import CheckedCluster
from jp2batch.compute.result import Result

_BETWEEN_LINES = 10.0  # seconds
_WELL = {"workers": "all workers are running", "store": "the store answers again"}


class Progress:
    """Count results on a progress bar: items, failures, items outside, bytes fetched.

    Without a bar, only waits are told, in lines on stderr.
    """

    def __init__(self, bar: Any, total: int, *, lines: bool = False) -> None:
        self._bar, self._summary, self._lines = bar, BatchSummary(total), lines
        self._waits: dict[str, str] = {}
        self._line_at = -_BETWEEN_LINES

    def add(self, result: Result) -> None:
        """Add a result and advance the bar."""
        if not self._bar.disable:
            self._summary.add(result)
            self.move(self.text)

    def tell(self, text: str, *, topic: str = "workers") -> None:
        """Show a text about workers or store; empty if all is well."""
        before, self._waits[topic] = self._waits.get(topic, ""), text
        if not self._bar.disable:
            self._bar.set_postfix_str(self.text)
        elif self._lines and (
            (text or before).startswith("waiting") or time.monotonic() - self._line_at >= _BETWEEN_LINES
        ):
            self._line_at = time.monotonic()
            sys.stderr.write(f"jp2batch: {text or _WELL[topic]}\n")

    def grow(self, count: int, before: int) -> None:
        """Add further items, some of them done before."""
        self._bar.total += count
        self._bar.update(before)

    def move(self, text: str) -> None:
        """Advance the bar by an item, and set the text behind it."""
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update()

    @property
    def text(self) -> str:
        """Text behind the bar."""
        found = self._summary
        failed = [f"{found.failed} failed"] if found.failed else []
        failed += [f"{found.outside} outside"] if found.outside else []
        return ", ".join([*filter(None, self._waits.values()), *failed, str(found.traffic)])


@contextlib.contextmanager
def progress_bar(total: int, *, before: int = 0, visible: bool | None = None) -> Iterator[Progress]:
    """Show a bar for the time of a `with` block.

    Parameters
    ----------
    total : int
        Number of items.
    before : int
        Number of items done by an earlier run.
    visible : bool, optional
        True to show it; by default only in terminals and notebooks: elsewhere, lines tell of missing workers.
    """
    lines = visible is None
    if visible is None:
        visible = sys.stderr.isatty() or _in_notebook()
    with _tqdm()(total=total, initial=before, unit="item", disable=not visible) as bar:
        yield Progress(bar, total - before, lines=lines)


def announce(cluster: CheckedCluster | None, *, visible: bool) -> None:
    """Print the addresses of a cluster's scheduler and dashboard to stderr."""
    if visible and cluster is not None:
        link = cluster.client.dashboard_link
        sys.stderr.write(f"scheduler: {cluster.address}{f', dashboard: {link}' if link else ''}\n")


def tell(text: str, *, visible: bool) -> None:
    """Print a message to stderr."""
    if visible:
        sys.stderr.write(f"jp2batch: {text}\n")


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")  # if not imported, this is not a notebook
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and "IPKernelApp" in shell.config


def _tqdm() -> Any:
    """Return tqdm's class for notebooks or for terminals."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without ipywidgets, tqdm warns and shows text
        from tqdm.auto import tqdm
    return tqdm
