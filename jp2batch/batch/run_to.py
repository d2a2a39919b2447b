"""Run a batch into an output, with records, resume and interrupts."""

import contextlib
import errno
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from jp2batch.batch.deduplicate import Reads, items_of
from jp2batch.batch.interrupts import interrupted_between
from jp2batch.batch.options import RunOptions
from jp2batch.batch.outputs import Output, sink_for
from jp2batch.batch.progress import announce, progress_bar
from jp2batch.batch.records import LineWriter, line_of
from jp2batch.batch.report import BatchSummary
from jp2batch.batch.resume import (
    Plan,
    check_apart,
    check_existing,
    check_options,
    check_writable,
    compact,
    forget,
    locked,
    plan_run,
    stamp_of,
    tidy,
    tidy_only,
)
from jp2batch.batch.run import Asked, results
from jp2batch.compute.cluster import check_cluster
from jp2batch.compute.engine import EngineOptions
from jp2batch.compute.result import Result
from jp2batch.core.errors import ClusterLost, ConfigurationError, Jp2BatchError, OutputError, StorageError
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import Request, as_requests

if TYPE_CHECKING:
    from distributed import Client


def run_to(
    requests: Asked,
    output: str | os.PathLike[str],
    client: "Client | str | None" = None,
    *,
    processes: bool = False,
    form: str | None = None,
    records: str | None = None,
    resume: bool = False,
    retry_failed: bool = False,
    overwrite: bool = False,
    fail_fast: bool = False,
    storage_options: StorageOptions = None,
    progress: bool = True,
) -> BatchSummary:
    """Read all requests into an output, with records, as `jp2batch run` does.

    Parameters
    ----------
    requests, client, processes, storage_options, progress
        As for `jp2batch.run`. Each request is an item; equal requests are read once. The options are for the stores of
        images and output, or a mapping of protocols to such options.
    output : str or path
        `results.ndjson`, `results.zarr`, or a folder: an existing folder, a name ending in `/`, or any name together
        with `form`. Zarr stores and folders can be URLs.
    form, records : str, optional
        Format of the files in a folder: "json", "npy", "png", "tif", "nc" or "zarr"; by default "npy". Local file for
        the records; by default beside the output.
    resume, retry_failed, overwrite, fail_fast : bool
        True to read only the unfinished items of an earlier run, or only its failed items, without removing results; to
        replace its output as new results arrive; to stop at the first failure.

    Returns
    -------
    BatchSummary
        Counts and sums. Results are in the output, not in memory.

    Raises
    ------
    Jp2BatchError
        The run cannot start, or writing the output failed. Records are kept.
    """
    options = RunOptions(
        output=os.fspath(output),
        form=form,
        records=records,
        resume=resume,
        retry_failed=retry_failed,
        overwrite=overwrite,
        fail_fast=fail_fast,
        storage_options=storage_options,
        progress=progress,
        engine=EngineOptions(client=client, processes=processes),
    )
    return run_items(as_requests(requests), options)


def run_items(
    requests: Sequence[Request],
    options: RunOptions,
    *,
    sources: Sequence[str] = (),
    on_begin: Callable[[BatchSummary], object] = lambda _: None,
) -> BatchSummary:
    """Read all requests; store their results and records.

    Parameters
    ----------
    requests : sequence of Request
        Requests to read, an item each, with ids by `jp2batch.batch.deduplicate.items_of`. Equal requests are read once.
    options : RunOptions
        Options of the run.
    sources : sequence of str, optional
        Files that must not be overwritten, e.g. the manifest.
    on_begin : callable, optional
        Called with the summary when the work begins. The summary is updated until the run ends, also by an error.

    Returns
    -------
    BatchSummary
        Counts and sums. Results are in the output, not in memory.

    Raises
    ------
    InvalidRequest
        The options contradict each other or the existing output.
    ConfigurationError
        The cluster does not start, or lacks a package.
    StorageError
        The output cannot be written; no request was read.
    OutputError
        Writing the output failed during the run. Records are kept.
    """
    start = time.perf_counter()
    run = _Run(requests, options, sources)
    with contextlib.ExitStack() as stack:
        check = stack.enter_context(interrupted_between())
        run.prepare()
        if run.plan.todo:
            on_begin(run.summary)
            stack.enter_context(_telling_the_end(run.summary, start))
            client = run.begin(stack, check)
            run.read(stack, client, check)
    run.summary.seconds = time.perf_counter() - start
    return run.summary


class _Run:
    """A batch with an output: prepared, begun, read."""

    plan: Plan

    def __init__(self, requests: Sequence[Request], options: RunOptions, sources: Sequence[str]) -> None:
        check_options(options)
        self._options, self._items = options, items_of(requests)
        self._reads = Reads(self._items)
        self._sink = sink_for(options.output, self._reads.all(), options.form, options.records, options.storage_options)
        check_apart(self._sink, sources)
        self.summary = BatchSummary(len(self._items))

    def prepare(self) -> None:
        """Plan the run; finish it if no items remain."""
        with _preparing(self._options.output):
            self._make_plan()
            if not self.plan.todo and self._options.continues:
                tidy_only(self._sink)

    def begin(self, stack: contextlib.ExitStack, check: Callable[[], object]) -> "Client | None":
        """Start the cluster, then lock the output, untouched until then."""
        with contextlib.ExitStack() as starting:
            client = _start(starting, self._options.engine, self._sink)
            check()
            with _preparing(self._options.output):
                stack.enter_context(locked(self._sink.locks, make=self._sink.folder is not None))
                if stamp_of(self._sink.records) != self.plan.stamp:  # another run has written records meanwhile
                    self._make_plan()
            stack.push(starting.pop_all())  # the cluster ends before the lock is released
        return client

    def read(self, stack: contextlib.ExitStack, client: "Client | None", check: Callable[[], object]) -> None:
        """Read the remaining items; store and count their results."""
        options, todo = self._options, self.plan.todo
        store = _opened(stack, self._sink, self.plan, options)
        announce(client, visible=options.progress)
        total, wanted = len(self._items), {item.id for item in todo}
        bar = stack.enter_context(progress_bar(total, before=total - len(todo), visible=options.progress and None))
        engine = EngineOptions(client=client)
        stream = results(self._reads.of(todo), engine, self._sink.deliver, options.storage_options, check=check)
        for found in stack.enter_context(contextlib.closing(stream)):
            for _, result in self._reads.results(found, wanted):
                store(result)
                self.summary.add(result)
                bar.add(result)
            if options.fail_fast and found.error is not None:
                return
        tidy(self._sink)

    def _make_plan(self) -> None:
        """Compare the items with an earlier run, and count its results."""
        check_existing(self._sink, self._options)
        check_writable(self._sink)
        self.plan = plan_run(self._sink, self._items, self._options)
        wanted = {item.id for item in self.plan.todo}
        before = self.plan.before
        self.summary.kept = sum(entry.ok for entry in before.values())
        self.summary.failures = Counter(e.failure for id_, e in before.items() if not e.ok and id_ not in wanted)


def _start(stack: contextlib.ExitStack, engine: EngineOptions, sink: Output) -> "Client | None":
    """Start the cluster, and check its workers.

    Raises
    ------
    ConfigurationError
        The cluster does not start, or is lost before the first request.
    """
    client = engine.start(stack)
    if client is not None:
        try:
            check_cluster(client, sink.packages)
        except ClusterLost as error:
            raise ConfigurationError(*error.args) from None
    return client


def _opened(stack: contextlib.ExitStack, sink: Output, plan: Plan, options: RunOptions) -> Callable[[Result], None]:
    """Open the output; return a function to store results.

    The function stores first the output of a result, then its record. The stack closes the output.
    """
    output = options.output
    with _preparing(output):
        sink.open(plan.todo, overwrite=options.overwrite)
        stack.callback(sink.close)
        sink.fetch_records()
        if plan.outdated:
            forget(sink, plan.outdated)
            sink.copy_records()
        if options.continues:
            stack.callback(compact, sink)
        writer = stack.enter_context(LineWriter(sink.records))

    def store(result: Result) -> None:
        if isinstance(result.error, OutputError):
            raise result.error
        try:
            if result.error is None:
                sink.put(result)
            writer.append(line_of(result))
        except OutputError:
            raise
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # the reader of stdout is gone
            raise _refused(output, error, OutputError) from None

    return store


@contextlib.contextmanager
def _telling_the_end(summary: BatchSummary, start: float) -> Iterator[None]:
    """Set `ended` and `seconds` of a summary when a `with` block ends."""
    try:
        yield
    except BaseException as error:
        summary.ended = "interrupted" if isinstance(error, KeyboardInterrupt) else type(error).__name__
        raise
    finally:
        summary.seconds = time.perf_counter() - start


@contextlib.contextmanager
def _preparing(output: str) -> Iterator[None]:
    """Raise StorageError if preparing the output fails."""
    try:
        yield
    except OutputError as error:
        raise StorageError(*error.args) from None
    except Jp2BatchError:
        raise
    except OSError as error:
        raise _refused(output, error, StorageError) from None


def _refused(output: str, error: OSError, kind: type[StorageError]) -> StorageError:
    name = str(error.filename or "the standard output") if output == "-" else output
    return kind(name, f"cannot be written: {error.strerror or error}", "check path, permissions and disk space")
