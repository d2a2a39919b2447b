"""Run a batch into an output, with records, resume and interrupts."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence

from jp2batch.batch.interrupts import interrupted_between
from jp2batch.batch.item_source import ItemList, ItemSource, ItemStream
from jp2batch.batch.manifest.read import Manifest
from jp2batch.batch.options import RunOptions
from jp2batch.batch.report import BatchSummary
from jp2batch.batch.run import Asked
from jp2batch.batch.stored_run import StoredRun
from jp2batch.compute.connection import ClientLike
from jp2batch.compute.engine import EngineOptions
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import as_requests
from jp2batch.storage.callers import called_by


def run_to(
    requests: Asked,
    output: str | os.PathLike[str],
    client: ClientLike | None = None,
    *,
    processes: bool = False,
    wait_workers: str | float = "10 minutes",
    form: str | None = None,
    records: str | None = None,
    resume: bool = False,
    retry_failed: bool = False,
    overwrite: bool = False,
    verify: bool = False,
    clean: bool = False,
    fail_fast: bool = False,
    max_failures: str | int | None = None,
    storage_options: StorageOptions = None,
    progress: bool = True,
) -> BatchSummary:
    """Read all requests into an output, with records, as `jp2batch run` does.

    Parameters
    ----------
    requests, client, processes, wait_workers, storage_options, progress
        As for `jp2batch.run`. Each request is an item; equal requests are read once. The options are for the stores of
        images and output, or a mapping of protocols to such options.
    output : str or path
        `results.ndjson`, `results.parquet`, `results.zarr`, or a folder: an existing folder, a name ending in `/`, or
        any name together with `form`. All can be URLs. `results.parquet`, and `results.ndjson` in a store, are folders
        of parts, written by workers.
    form, records : str, optional
        Format of the files in a folder: "json", "npy", "png", "tif", "nc" or "zarr"; by default "npy". Local file for
        the records instead of the file beside a local output, or a copy of those beside an output in a store. A
        name ending in .parquet: a table of the records, written at the end of a complete run.
    resume, retry_failed, overwrite, fail_fast : bool
        True to read only the unfinished items of an earlier run, or only its failed items, without removing results; to
        replace its output as new results arrive; to stop at the first failure.
    max_failures : str or int, optional
        Stop when more items failed: a number, or a percentage of the finished items, such as "5%", which applies from
        100 finished items on. By default a run stops only if its first 10 items fail alike, for a reason that others
        will share, such as credentials or a missing bucket.
    verify, clean : bool
        When resuming, True to compare the content of results with their checksums, not only their sizes; to remove
        recorded results that no item makes, and incomplete files.

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
        verify=verify,
        clean=clean,
        fail_fast=fail_fast,
        max_failures=max_failures,
        storage_options=storage_options,
        progress=progress,
        engine=EngineOptions(client=client, processes=processes, wait_workers=wait_workers),
    )
    items = ItemStream(requests) if isinstance(requests, Manifest) else ItemList(as_requests(requests))
    return run_items(items, options)


def run_items(
    items: ItemSource,
    options: RunOptions,
    *,
    sources: Sequence[str] = (),
    on_begin: Callable[[BatchSummary], object] = lambda _: None,
) -> BatchSummary:
    """Read all requests; store their results and records.

    Parameters
    ----------
    items : ItemSource
        Items to read, with different ids. Equal requests are read once if they are known at the same time.
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
    with contextlib.ExitStack() as stack:
        check = stack.enter_context(interrupted_between())
        run = StoredRun(items, options, sources, check)
        stack.enter_context(called_by(run.watch))
        if run.plan():
            on_begin(run.summary)
            stack.enter_context(_telling_the_end(run.summary, start))
            try:
                cluster = run.begin(stack)
                run.write(stack, cluster)
            finally:
                run.watch.hurry()
    run.summary.seconds = time.perf_counter() - start
    return run.summary


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
