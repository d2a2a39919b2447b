"""What happened to each request of a batch: `Result`, its record, and `BatchReport`."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from jp2batch.compute.result import Result, _fetched
from jp2batch.core import display
from jp2batch.core.request import Request
from jp2batch.image.preview import thumbnail

if TYPE_CHECKING:
    import pandas as pd

_PICTURES = 6  # that a report shows


class BatchInterrupted(KeyboardInterrupt):
    """A batch was interrupted. `report` has the results that were there."""

    def __init__(self, report: "BatchReport") -> None:
        super().__init__(f"{len(report.results)} results are in its report")
        self.report = report


@dataclass
class BatchSummary:
    """Counts and sums of a batch whose results are stored elsewhere."""

    requests: int
    """Items of the batch."""
    kept: int = 0
    """Items that an earlier run had done."""
    done: int = 0
    """Items that this run has done."""
    failures: Counter[str] = field(default_factory=Counter)
    """Items that failed, by the type of the error."""
    bytes_read: int = 0
    """Bytes that this run has fetched."""
    bytes_whole: int = 0
    """Bytes that fetching whole files would have taken."""
    seconds: float = 0.0
    """Wall time of this run."""
    ended: str = "complete"
    """How it ended: "complete", "interrupted", or the type of the error that ended it."""
    first_failure: str = ""
    """What the first item says that failed in this run."""

    @property
    def ok(self) -> int:
        """Items whose results are there."""
        return self.kept + self.done

    @property
    def failed(self) -> int:
        """Items that failed."""
        return self.failures.total()

    @property
    def left(self) -> int:
        """Items that have not been run."""
        return self.requests - self.ok - self.failed

    def add(self, result: Result) -> None:
        """Count a result."""
        if result.error is None:
            self.done += 1
        else:
            self.failures[type(result.error).__name__] += 1
            self.first_failure = self.first_failure or str(result.error)
        if result.stats and result.same_as is None:
            self.bytes_read += result.stats.bytes_read
            self.bytes_whole += result.size

    def summary(self) -> dict[str, Any]:
        """Return counts and sums, as a dict that json can write."""
        return {
            "requests": self.requests,
            "ok": self.ok,
            "failed": self.failed,
            "kept": self.kept,
            "left": self.left,
            "ended": self.ended,
            "failures": dict(self.failures),
            "bytes_read": self.bytes_read,
            "bytes_whole": self.bytes_whole,
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        return "\n".join(f"{name:<9} {value}" for name, value in self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        counts = [f"{self.ok} ok", f"{self.failed} failed"]
        counts += [f"{self.left} not run"] if self.left else []
        counts[0] += f" ({self.kept} of them before)" if self.kept else ""
        speed = f", {self.done / self.seconds:.1f} items/s" if self.done and self.seconds else ""
        rows = [
            ("requests", f"{self.requests}: {', '.join(counts)}"),
            ("fetched", _fetched(self.bytes_read, self.bytes_whole)),
            ("time", f"{self.seconds:.1f} s{speed}"),
        ]
        rows += [("ended", self.ended)] if self.ended != "complete" else []
        rows += [("failed", f"{count} x {kind}") for kind, count in self.failures.items()]
        return rows + ([("first", self.first_failure)] if self.first_failure else [])


@dataclass(frozen=True, repr=False)
class BatchReport:
    """What became of all requests of a batch, in their order."""

    results: Sequence[Result]
    """One result for each request."""
    seconds: float = 0.0
    """Wall time of the run."""
    rerun: Callable[[Iterable[Request]], "BatchReport"] | None = field(default=None, repr=False, compare=False)
    """Runs requests as this batch was run."""

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    @property
    def failed(self) -> list[Result]:
        """The results of those that failed."""
        return [result for result in self.results if result.status == "failed"]

    @property
    def bytes_read(self) -> int:
        """Bytes fetched."""
        return sum(result.stats.bytes_read for result in self.results if result.stats and result.same_as is None)

    @property
    def bytes_whole(self) -> int:
        """Bytes that fetching whole files would have taken."""
        return sum(result.size for result in self.results if result.stats and result.same_as is None)

    def retry(self) -> "BatchReport":
        """Run those that failed again; return the report with their new results in their places."""
        if self.rerun is None or not self.failed:
            return self
        again = self.rerun([result.request for result in self.failed])
        fresh = iter(again.results)
        results = [next(fresh) if result.status == "failed" else result for result in self.results]
        return replace(self, results=results, seconds=self.seconds + again.seconds)

    def to_dataframe(self) -> "pd.DataFrame":
        """Return the records as a table, one row a request."""
        import pandas as pd

        records = [result.record() for result in self.results]
        for record in records:
            error = record.pop("error")
            record["error"] = error["type"] if error else None
            record["detail"] = error["detail"] if error else None
        return pd.DataFrame.from_records(records)

    def summary(self) -> dict[str, Any]:
        """Return counts and sums, as a dict that json can write."""
        return {
            "requests": len(self.results),
            "ok": len(self.results) - len(self.failed),
            "failed": len(self.failed),
            "failures": dict(Counter(type(result.error).__name__ for result in self.failed)),
            "bytes_read": self.bytes_read,
            "bytes_whole": self.bytes_whole,
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        return "\n".join(f"{name:<9} {value}" for name, value in self._rows())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        found = self.summary()
        done = display.bar(found["ok"], found["requests"], f"{found['ok']} of {found['requests']} ok")
        saved = display.bar(self.bytes_read, self.bytes_whole, f"fetched {_fetched(self.bytes_read, self.bytes_whole)}")
        shown = [(thumbnail(result.value), result.request.path) for result in self.results[:_PICTURES]]
        pictures = [display.picture(png, PurePosixPath(path).stem) for png, path in shown if png]
        return display.card("Batch", self._rows(), display.stack([done, saved]), *pictures)

    def _rows(self) -> list[tuple[str, str]]:
        found = self.summary()
        rows = [
            ("requests", f"{found['requests']}: {found['ok']} ok, {found['failed']} failed"),
            ("fetched", _fetched(self.bytes_read, self.bytes_whole)),
            ("time", f"{self.seconds:.1f} s"),
        ]
        rows += [("failed", f"{count} x {kind}") for kind, count in found["failures"].items()]
        return rows + [("first", str(result.error)) for result in self.failed[:1]]
