"""What happened to each request of a batch: `Result`, its record, and `BatchReport`."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from jp2batch import html
from jp2batch.errors import Jp2BatchError
from jp2batch.info import format_bytes
from jp2batch.preview import thumbnail
from jp2batch.reader import Stats
from jp2batch.request import Request
from jp2batch.urls import without_credentials

if TYPE_CHECKING:
    import pandas as pd

_PICTURES = 6  # that a report shows

Status = Literal["ok", "failed"]


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """What became of one request."""

    request: Request
    """What was asked."""
    status: Status
    """Whether it was done."""
    value: Any = field(default=None, repr=False)
    """A DataArray or the dict of the web service; None where it failed, or was written by the worker."""
    error: Jp2BatchError | None = None
    """Why it failed."""
    stats: Stats | None = None
    """What the read took; None where it failed before."""
    attempts: int = 1
    """How often it was begun; more than once where a worker died."""
    shape: tuple[int, ...] | None = None
    """Shape of the pixels: (rows, columns), or (bands, rows, columns)."""
    dtype: str | None = None
    """Type of the pixels."""
    size: int = 0
    """Length of the file in bytes."""
    worker: str | None = None
    """Which worker did it."""
    output: str | None = None
    """Where the worker has written it."""
    same_as: str | None = None
    """The id of the request that asked the same and was done for this one too; its bytes are counted there."""

    def __str__(self) -> str:
        return html.text(self._title(), self._rows())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        png = thumbnail(self.value)
        saved = html.bar(self.stats.bytes_read, self.size, self._fetched()) if self.stats else ""
        return html.card(self._title(), self._rows(), html.stack([html.picture(png) if png else "", saved]))

    def _title(self) -> str:
        return without_credentials(self.request.path)

    def _fetched(self) -> str:
        return _fetched(self.stats.bytes_read if self.stats else 0, self.size)

    def _rows(self) -> list[tuple[str, str]]:
        stats, request = self.stats, self.request
        window = "" if request.window is None else ",".join(f"{start}:{stop}" for start, stop in request.window)
        level = f"rlevel {request.rlevel}" + (f", window {window}" if window else "")
        rows = [("status", self.status if self.error is None else f"{self.status}: {self.error}"), ("asked", level)]
        if self.shape is not None:
            rows.append(("pixels", f"{' x '.join(map(str, self.shape))} {self.dtype}"))
        if stats is not None:
            rows += [
                ("fetched", self._fetched()),
                ("saved", format_bytes(max(0, self.size - stats.bytes_read))),
                ("requests", f"{stats.requests}" + (f", {stats.retries} made again" if stats.retries else "")),
                ("time", f"{stats.time_download:.3g} s download, {stats.time_processing:.3g} s processing"),
                ("read by", f"{stats.precision}, located by {stats.located_by}"),
            ]
        return rows + ([("written to", self.output)] if self.output else [])

    def record(self) -> dict[str, Any]:
        """Return all but the value, as a dict that json can write, with the other columns of its manifest row."""
        stats, request = self.stats, self.request
        own = {
            "id": request.id,
            "Path": request.shown_path,
            "root": request.shown_root,
            "rlevel": request.rlevel,
            "window": request.window,
            "digest": request.digest,
            "status": self.status,
            "error": None if self.error is None else describe(self.error),
            "attempts": self.attempts,
            "shape": self.shape,
            "dtype": self.dtype,
            "size": self.size,
            "bytes_read": stats.bytes_read if stats else 0,
            "requests": stats.requests if stats else 0,
            "retries": stats.retries if stats else 0,
            "located_by": stats.located_by if stats else None,
            "precision": stats.precision if stats else None,
            "time_download": stats.time_download if stats else None,
            "time_processing": stats.time_processing if stats else None,
            "worker": self.worker,
            "output": self.output,
            "same_as": self.same_as,
        }
        return dict(request.columns) | own  # a column of the same name gives way


def _fetched(part: int, whole: int) -> str:
    share = f" ({part / whole:.2%})" if whole else ""
    return f"{format_bytes(part)} of {format_bytes(whole)}{share}"


def describe(error: Jp2BatchError) -> dict[str, Any]:
    """Return an error as the fields of a record."""
    return {
        "type": type(error).__name__,
        "title": (type(error).__doc__ or "").strip().partition("\n")[0],
        "detail": str(error),
        "retryable": error.retryable,
    }


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
        done = html.bar(found["ok"], found["requests"], f"{found['ok']} of {found['requests']} ok")
        saved = html.bar(self.bytes_read, self.bytes_whole, f"fetched {_fetched(self.bytes_read, self.bytes_whole)}")
        shown = [(thumbnail(result.value), result.request.path) for result in self.results[:_PICTURES]]
        pictures = [html.picture(png, PurePosixPath(path).stem) for png, path in shown if png]
        return html.card("Batch", self._rows(), html.stack([done, saved]), *pictures)

    def _rows(self) -> list[tuple[str, str]]:
        found = self.summary()
        rows = [
            ("requests", f"{found['requests']}: {found['ok']} ok, {found['failed']} failed"),
            ("fetched", _fetched(self.bytes_read, self.bytes_whole)),
            ("time", f"{self.seconds:.1f} s"),
        ]
        rows += [("failed", f"{count} x {kind}") for kind, count in found["failures"].items()]
        return rows + [("first", str(result.error)) for result in self.failed[:1]]
