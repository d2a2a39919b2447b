"""A bar that tells how far a batch is, where somebody looks at it: in a terminal or in a notebook."""

import contextlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from jp2batch.batch.report import BatchSummary
from jp2batch.compute.result import Result
from jp2batch.image.info import format_bytes


class Progress:
    """Counts results, and moves a bar with them: items, failures, bytes against whole files."""

    def __init__(self, bar: Any, total: int) -> None:
        self._bar, self._summary = bar, BatchSummary(total)

    def add(self, result: Result) -> None:
        """Count a result."""
        if not self._bar.disable:
            self._summary.add(result)
            self.move(self.text)

    def move(self, text: str) -> None:
        """Tell that one more is done, and what is to stand behind the bar."""
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update()

    @property
    def text(self) -> str:
        """What stands behind the bar."""
        found = self._summary
        failed = [f"{found.failed} failed"] if found.failed else []
        share = f" ({found.bytes_read / found.bytes_whole:.1%})" if found.bytes_whole else ""
        return ", ".join([*failed, f"{format_bytes(found.bytes_read)} of {format_bytes(found.bytes_whole)}{share}"])


@contextlib.contextmanager
def progress_bar(total: int, *, before: int = 0, shown: bool | None = None) -> Iterator[Progress]:
    """Show a bar for the time of a `with` block.

    Parameters
    ----------
    total : int
        Items in all.
    before : int
        Those that were done before.
    shown : bool, optional
        Whether to show it; by default, where somebody looks at it.
    """
    if shown is None:
        shown = sys.stderr.isatty() or _in_notebook()
    with _tqdm()(total=total, initial=before, unit="item", disable=not shown) as bar:
        yield Progress(bar, total - before)


def announce(client: Any, *, shown: bool) -> None:
    """Tell on stderr where the cluster of a client can be watched."""
    if shown and client is not None and client.dashboard_link:
        sys.stderr.write(f"dashboard: {client.dashboard_link}\n")


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")  # where it is not imported, there is no notebook
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and "IPKernelApp" in shell.config


def _tqdm() -> Any:
    """Return the bar of notebooks in notebooks, and that of terminals elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without ipywidgets, it takes text
        from tqdm.auto import tqdm
    return tqdm
