"""A batch from its requests to its output: begun, watched, interrupted, resumed."""

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
    """Do all requests; let those who do them write the results, and keep a record of each, as `jp2batch run` does.

    Parameters
    ----------
    requests, client, processes
        As for `jp2batch.run`. Each request is an item of its own; what is asked twice is read once.
    output : str or path
        `results.ndjson`, `results.zarr`, or a folder: one that is there, ends in `/` or comes with a `form`. URLs as
        well.
    form : str, optional
        Of the files in a folder: "json", "npy", "png", "tif", "nc" or "zarr"; by default "npy".
    records : str, optional
        Where the records go; by default beside the output.
    resume : bool
        Keep what an earlier run has done; do the rest. Nothing is removed.
    retry_failed : bool
        Do only what an earlier run has recorded as failed.
    overwrite : bool
        Do all anew; replace what an earlier run has left as the new results come.
    fail_fast : bool
        Stop at the first failure.
    storage_options : mapping, optional
        fsspec's options for the stores of images and output, or for each by its protocol.
    progress : bool
        Show a bar, where somebody looks at it.

    Returns
    -------
    BatchSummary
        Counts and sums. The results are where they belong, and not in memory.

    Raises
    ------
    Jp2BatchError
        Nothing can be begun, or the output cannot be written any more: what is recorded is kept.
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
    """Do all requests; store the result and a record of each.

    Parameters
    ----------
    requests : sequence of Request
        An item each, as `jp2batch.batch.deduplicate.items_of` names them. Equal requests are read once.
    options : RunOptions
        How to run it.
    sources : sequence of str, optional
        Files that must not be written to, as the manifest.
    on_begin : callable, optional
        Gets the summary as the work begins; afterwards the summary says how far the run came, even if it fails.

    Returns
    -------
    BatchSummary
        Counts and sums. The results are in the output, and not in memory.

    Raises
    ------
    InvalidRequest
        The options contradict each other, or the existing output.
    ConfigurationError
        The engine does not start, or lacks a package.
    StorageError
        The output cannot be written: nothing has been begun.
    OutputError
        The output cannot be written any more: the records are kept.
    """
    output = options.output
    check_options(options)
    items = items_of(requests)
    reads = Reads(items)
    sink = sink_for(output, reads.all(), options.form, options.records, options.storage_options)
    check_apart(sink, sources)
    summary = BatchSummary(len(items))
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        check = stack.enter_context(interrupted_between())
        with _preparing(output):
            check_existing(sink, options)
            check_writable(sink)
            plan = plan_run(sink, items, options)
            if not plan.todo and options.continues:
                tidy_only(sink)
        _count_kept(summary, plan)
        if plan.todo:
            on_begin(summary)
            stack.enter_context(_telling_the_end(summary, start))
            with contextlib.ExitStack() as starting:  # the output is untouched until all this is there
                client = _start(starting, options.engine, sink)
                check()
                with _preparing(output):
                    stack.enter_context(locked(sink.locks, make=sink.folder is not None))
                    if stamp_of(sink.records) != plan.stamp:  # another run has come and gone
                        check_existing(sink, options)
                        plan = plan_run(sink, items, options)
                        _count_kept(summary, plan)
                stack.push(starting.pop_all())  # it ends before others may write
            wanted = {item.id for item in plan.todo}
            store = _opened(stack, sink, plan, options)
            announce(client, shown=options.progress)
            done = len(items) - len(plan.todo)
            bar = stack.enter_context(progress_bar(len(items), before=done, shown=options.progress and None))
            engine = EngineOptions(client=client)
            stream = results(reads.of(plan.todo), engine, sink.deliver, options.storage_options, check=check)
            for _, found in stack.enter_context(contextlib.closing(stream)):
                for result in reads.results(found, wanted):
                    store(result)
                    summary.add(result)
                    bar.add(result)
                if options.fail_fast and found.error is not None:
                    break
            else:
                tidy(sink)
    summary.seconds = time.perf_counter() - start
    return summary


def _count_kept(summary: BatchSummary, plan: Plan) -> None:
    """Count what an earlier run has done, and what it has failed at and is not tried again."""
    wanted = {item.id for item in plan.todo}
    summary.kept = sum(entry.ok for entry in plan.before.values())
    summary.failures = Counter(e.failure for id_, e in plan.before.items() if not e.ok and id_ not in wanted)


def _start(stack: contextlib.ExitStack, engine: EngineOptions, sink: Output) -> "Client | None":
    """Start what does the work, and see that it can.

    Raises
    ------
    ConfigurationError
        It does not start, or is lost before it has begun.
    """
    client = engine.start(stack)
    if client is not None:
        try:
            check_cluster(client, sink.packages)
        except ClusterLost as error:
            raise ConfigurationError(*error.args) from None
    return client


def _opened(stack: contextlib.ExitStack, sink: Output, plan: Plan, options: RunOptions) -> Callable[[Result], None]:
    """Open the output for the time of a stack; return what stores a result: first its output, then its record."""
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
                raise  # nobody reads on
            raise _refused(output, error, OutputError) from None

    return store


@contextlib.contextmanager
def _telling_the_end(summary: BatchSummary, start: float) -> Iterator[None]:
    """Note in a summary how a `with` block ends, and when."""
    try:
        yield
    except BaseException as error:
        summary.ended = "interrupted" if isinstance(error, KeyboardInterrupt) else type(error).__name__
        raise
    finally:
        summary.seconds = time.perf_counter() - start


@contextlib.contextmanager
def _preparing(output: str) -> Iterator[None]:
    """Tell an output that cannot be written from an item that fails."""
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
    return kind(name, f"cannot be written: {error.strerror or error}", "check the path, the rights and the space")
