"""Reports of a batch: `BatchReport` with results, `BatchSummary` with counts."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from jp2batch.compute.result import Result
from jp2batch.core import display
from jp2batch.core.errors import ManifestError
from jp2batch.core.request import Request
from jp2batch.core.traffic import Traffic
from jp2batch.image.preview import thumbnail

if TYPE_CHECKING:
    import pandas as pd

_PICTURES = 6  # shown by a report


class BatchInterrupted(KeyboardInterrupt):
    """A batch was interrupted; `report` has the finished results."""

    def __init__(self, report: "BatchReport") -> None:
        super().__init__(f"{len(report.results)} results are in its report")
        self.report = report


@dataclass
class BatchSummary:
    """Counts and sums of a batch whose results are stored elsewhere."""

    requests: int
    """Number of items in the batch."""
    kept: int = 0
    """Number of items done by an earlier run."""
    done: int = 0
    """Number of items done by this run."""
    outside: int = 0
    """Number of items with areas outside their images."""
    failures: Counter[str] = field(default_factory=Counter)
    """Number of failed items by type of error."""
    traffic: Traffic = field(default_factory=Traffic)
    """Bytes fetched by this run."""
    seconds: float = 0.0
    """Wall time of this run in seconds."""
    ended: str = "complete"
    """End of the run: "complete", "interrupted", or a type of error."""
    first_failure: str = ""
    """Message of the first failure in this run."""
    bad_rows: ManifestError | None = None
    """Error of bad rows found during the run, if any."""

    @property
    def bytes_read(self) -> int:
        """Bytes fetched by this run."""
        return self.traffic.bytes_read

    @property
    def bytes_whole(self) -> int:
        """Size of the files in bytes."""
        return self.traffic.bytes_whole

    @property
    def ok(self) -> int:
        """Number of items with a result."""
        return self.kept + self.done

    @property
    def failed(self) -> int:
        """Number of failed items."""
        return self.failures.total()

    @property
    def left(self) -> int:
        """Number of items not run."""
        return self.requests - self.ok - self.failed - self.outside

    def add(self, result: Result) -> None:
        """Add a result."""
        if result.error is None:
            self.done += 1
        elif result.status == "outside":
            self.outside += 1
        else:
            self.failures[type(result.error).__name__] += 1
            self.first_failure = self.first_failure or str(result.error)
        if result.stats and result.same_as is None:
            self.traffic.add(result.stats.requests, result.stats.bytes_read, result.size)

    def refuse(self, bad_rows: ManifestError | None) -> None:
        """Add bad rows of the manifest as failed items."""
        if bad_rows is not None:
            self.bad_rows = bad_rows
            self.requests += len(bad_rows.rows)
            self.failures[type(bad_rows).__name__] += len(bad_rows.rows)

    def summary(self) -> dict[str, object]:
        """Return counts and sums as a JSON-compatible dict."""
        return {
            "requests": self.requests,
            "ok": self.ok,
            "failed": self.failed,
            "outside": self.outside,
            "kept": self.kept,
            "left": self.left,
            "ended": self.ended,
            "failures": dict(self.failures),
            "bytes_read": self.bytes_read,
            "bytes_whole": self.bytes_whole,
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        return "\n".join(f"{name:<9} {value}" for name, value in self.rows())

    def rows(self) -> list[tuple[str, str]]:
        """Return the same for people: names and texts."""
        counts = [f"{self.ok} ok", f"{self.failed} failed"]
        counts += [f"{self.outside} outside"] if self.outside else []
        counts += [f"{self.left} not run"] if self.left else []
        counts[0] += f" ({self.kept} of them before)" if self.kept else ""
        speed = f", {self.done / self.seconds:.1f} items/s" if self.done and self.seconds else ""
        rows = [
            ("requests", f"{self.requests}: {', '.join(counts)}"),
            ("fetched", str(self.traffic)),
            ("time", f"{self.seconds:.1f} s{speed}"),
        ]
        rows += [("ended", self.ended)] if self.ended != "complete" else []
        rows += [("failed", f"{count} x {kind}") for kind, count in self.failures.items()]
        return rows + ([("first", self.first_failure)] if self.first_failure else [])


@dataclass(frozen=True, repr=False)
class BatchReport:
    """Results of all requests of a batch, in order."""

    results: Sequence[Result]
    """Results, in the order of the requests."""
    seconds: float = 0.0
    """Wall time of the run in seconds."""
    rerun: Callable[[Iterable[Request]], "BatchReport"] | None = field(default=None, repr=False, compare=False)
    """Function to run requests with the same options."""

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    @property
    def failed(self) -> list[Result]:
        """Results of the failed requests."""
        return [result for result in self.results if result.status == "failed"]

    @property
    def bytes_read(self) -> int:
        """Bytes fetched."""
        return self._counts.bytes_read

    @property
    def bytes_whole(self) -> int:
        """Size of the files in bytes."""
        return self._counts.bytes_whole

    @property
    def _counts(self) -> BatchSummary:
        counts = BatchSummary(len(self.results), seconds=self.seconds)
        for result in self.results:
            counts.add(result)
        return counts

    def retry(self) -> "BatchReport":
        """Run failed requests again; return a report with the new results."""
        if self.rerun is None or not self.failed:
            return self
        again = self.rerun([result.request for result in self.failed])
        fresh = iter(again.results)
        results = [next(fresh) if result.status == "failed" else result for result in self.results]
        return replace(self, results=results, seconds=self.seconds + again.seconds)

    def to_dataframe(self) -> "pd.DataFrame":
        """Return the records as a table, a row per request."""
        import pandas as pd

        return pd.DataFrame.from_records([_row(result) for result in self.results])

    def summary(self) -> dict[str, object]:
        """Return counts and sums as a JSON-compatible dict."""
        counts = self._counts.summary()
        return {name: value for name, value in counts.items() if name not in ("kept", "left", "ended")}

    def __str__(self) -> str:
        return str(self._counts)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        counts = self._counts
        done = display.bar(counts.ok, counts.requests, f"{counts.ok} of {counts.requests} ok")
        fetched = f"fetched {counts.traffic}"
        saved = display.bar(counts.bytes_read, counts.bytes_whole, fetched)
        shown = [(thumbnail(result.value), result.request.path) for result in self.results[:_PICTURES]]
        pictures = [display.picture(png, PurePosixPath(path).stem) for png, path in shown if png]
        return display.card("Batch", counts.rows(), display.stack([done, saved]), *pictures)


def _row(result: Result) -> dict[str, object]:
    """Return the record of a result, its error divided into two columns."""
    error, record = result.error, result.record()
    del record["error"]
    record["error"] = None if error is None else type(error).__name__
    record["detail"] = None if error is None else str(error)
    return record
