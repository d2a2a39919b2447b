"""A batch from its requests to its output: begun, watched, interrupted, resumed."""

import contextlib
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from jp2batch import batch
from jp2batch.batch_cluster import cluster_at
from jp2batch.batch_sinks import Sink, sink_for
from jp2batch.errors import ConfigurationError, InvalidRequest, Jp2BatchError, StorageError
from jp2batch.manifest import read_manifest
from jp2batch.reader import StorageOptions
from jp2batch.records import Entry, RecordWriter, keep_records, read_records
from jp2batch.report import BatchSummary
from jp2batch.request import Request
from jp2batch.storage.flags import options_from_flags

STORAGE_FLAGS = ("more", "endpoint_url", "no_sign_request", "request_payer", "profile", "region")
_ENGINE_FLAGS = ("scheduler", "workers", "threads", "memory_limit", "local_threads")

Engine = Callable[[], AbstractContextManager[Any]]
"""Starts what does the work: a `distributed.Client`, or None for threads of this process."""


def run_to(
    requests: Sequence[Request],
    output: str,
    *,
    form: str | None = None,
    records: str | None = None,
    engine: Engine = contextlib.nullcontext,
    resume: bool = False,
    retry_failed: bool = False,
    overwrite: bool = False,
    fail_fast: bool = False,
    storage_options: StorageOptions = None,
    progress: bool = False,
) -> BatchSummary:
    """Do all requests, and store what they give and a record of each.

    Parameters
    ----------
    requests : sequence of Request
        What to do. Those with the same id are one item.
    output, form, records
        Where results and records go, as for `jp2batch.batch_sinks.sink_for`.
    engine : callable, optional
        Returns a context manager that starts what does the work; by default threads of this process do it.
    resume : bool
        Keep what an earlier run has done; do the rest.
    retry_failed : bool
        Do only what an earlier run has recorded as failed.
    overwrite : bool
        Remove what an earlier run has left, and begin anew.
    fail_fast : bool
        Stop at the first failure.
    storage_options : mapping, optional
        fsspec's options for the store.
    progress : bool
        Show a bar and the address of the dashboard on stderr.

    Returns
    -------
    BatchSummary
        Counts and sums. The results are where they belong, and not in memory.

    Raises
    ------
    InvalidRequest
        The options contradict each other, or what is there already.
    ConfigurationError
        What is to do the work does not start.
    StorageError
        The output cannot be written.
    KeyboardInterrupt
        On SIGINT and, in the main thread, on SIGTERM. What is recorded is kept.
    """
    items = list({request.id: request for request in reversed(requests)}.values())[::-1]
    sink = sink_for(output, items, form, records)
    _check(sink, output, resume=resume or retry_failed, retry_failed=retry_failed, overwrite=overwrite)
    summary = BatchSummary(len(items))
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_ended_by_sigterm())
        with _preparing(output):
            before = _recover(sink, items) if resume or retry_failed else {}
        todo = _todo(items, before, retry_failed=retry_failed)
        again = {request.id for request in todo}
        summary.kept = sum(entry.ok for entry in before.values())
        summary.failures = Counter(e.failure for id_, e in before.items() if not e.ok and id_ not in again)
        if todo:
            client = started(stack, engine)
            with _preparing(output):
                if overwrite:
                    sink.clear()
                sink.open()
                stack.callback(sink.close)
                if before:
                    stack.callback(_compact, sink)
                writer = stack.enter_context(RecordWriter(sink.records))
            bar = stack.enter_context(progress_bar(len(items), len(items) - len(todo), client, shown=progress))
            results = batch.as_completed(todo, client, sink.deliver, storage_options=storage_options)
            stack.enter_context(contextlib.closing(results))
            for result in results:
                if result.error is None:
                    sink.put(result)
                writer.append(result)
                summary.add(result)
                bar(summary.failed)
                if fail_fast and result.error is not None:
                    break
    summary.seconds = time.perf_counter() - start
    return summary


def run_manifest(manifest: str, output: str, *, rlevel: int, root: str | None, **options: Any) -> BatchSummary:
    """Do what a manifest asks for, with the options of the command line.

    Parameters
    ----------
    manifest, rlevel, root
        As for `jp2batch.read_manifest`.
    output : str
        As for `run_to`.
    **options
        Those of `engine_of`, of `jp2batch.storage.flags.options_from_flags`, and of `run_to`.

    Raises
    ------
    Jp2BatchError
        As for these; a ManifestError names all bad rows, and nothing has been begun.
    KeyboardInterrupt
        As for `run_to`.
    """
    flags = {name: options.pop(name) for name in STORAGE_FLAGS}
    engine = engine_of(**{name: options.pop(name) for name in _ENGINE_FLAGS})
    requests, storage_options = manifest_requests(manifest, rlevel=rlevel, root=root, flags=flags)
    return run_to(requests, output, engine=engine, storage_options=storage_options, **options)


def manifest_requests(
    manifest: str, *, rlevel: int, root: str | None, flags: Mapping[str, Any]
) -> tuple[list[Request], dict[str, Any]]:
    """Return what a manifest asks for, and the options of its store that storage flags stand for.

    Raises
    ------
    ManifestError
        Rows are bad, or there is none.
    """
    remote = "://" in manifest  # flags are of the store of the images, which may be that of the manifest as well
    same_store = remote and (root is None or _protocol(root) == _protocol(manifest))
    known = options_from_flags(manifest, **flags) if same_store else None
    requests = read_manifest(manifest, rlevel=rlevel, root=root, storage_options=known)
    return requests, options_from_flags(root or requests[0].path, **flags)


def engine_of(
    scheduler: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    memory_limit: str | None = None,
    *,
    local_threads: bool = False,
) -> Engine:
    """Return what starts the engine that these options mean: by default, a cluster of processes on this machine.

    Parameters
    ----------
    scheduler : str, optional
        Address of a dask scheduler.
    workers, threads, memory_limit : optional
        Processes, threads of each and memory of each, on this machine.
    local_threads : bool
        Threads of this process instead.

    Raises
    ------
    InvalidRequest
        The options contradict each other.
    """
    own = {"--workers": workers, "--threads": threads, "--memory-limit": memory_limit}
    given = [flag for flag, value in own.items() if value is not None]
    other = "--scheduler" if scheduler else "--local-threads" if local_threads else ""
    if scheduler and local_threads:
        raise InvalidRequest("", "--scheduler and --local-threads exclude each other", "leave one of them out")
    if given and other:
        raise InvalidRequest("", f"{given[0]} means nothing with {other}", "leave one of them out")
    if scheduler:
        return lambda: cluster_at(scheduler)
    if local_threads:
        return contextlib.nullcontext
    return lambda: batch.local_cluster(workers, threads or 1, memory_limit or "auto")


def _protocol(url: str) -> str:
    return url.partition("://")[0]


def _check(sink: Sink, output: str, *, resume: bool, retry_failed: bool, overwrite: bool) -> None:
    """Refuse what would mix two batches."""
    if resume and overwrite:
        raise InvalidRequest(output, "--overwrite contradicts --resume and --retry-failed", "leave one of them out")
    if resume and output == "-":
        raise InvalidRequest("", "what went to stdout cannot be resumed", "give a file with -o")
    if retry_failed and not (sink.records and sink.records.exists()):
        raise InvalidRequest(output, "there are no records of an earlier run", "leave out --retry-failed")
    if not (resume or overwrite) and sink.exists():
        cure = "continue it with --resume, replace it with --overwrite, or give another name"
        raise InvalidRequest(output, "there are results already", cure)


def _recover(sink: Sink, items: Sequence[Request]) -> dict[str, Entry]:
    """Bring output and records to where both agree; return the records of these items."""
    if sink.records is None:
        return {}
    found = read_records(sink.records)
    for item in items:
        if item.id in found and not found[item.id].is_of(item):
            del found[item.id]
    there = sink.keep({id_: entry for id_, entry in found.items() if entry.ok})
    valid = {id_: entry for id_, entry in found.items() if not entry.ok or id_ in there}
    keep_records(sink.records, valid.values())
    return {item.id: valid[item.id] for item in items if item.id in valid}


def _compact(sink: Sink) -> None:
    """Keep only the last record of each item."""
    if sink.records is not None:
        keep_records(sink.records, read_records(sink.records).values())


def _todo(items: Sequence[Request], before: Mapping[str, Entry], *, retry_failed: bool) -> list[Request]:
    failed = {id_ for id_, entry in before.items() if not entry.ok}
    if retry_failed:
        return [item for item in items if item.id in failed]
    return [item for item in items if item.id in failed or item.id not in before]


def started(stack: contextlib.ExitStack, engine: Engine) -> Any:
    """Start an engine for the time of a stack; say what to do where it does not start."""
    try:
        return stack.enter_context(engine())
    except Jp2BatchError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        cure = "check --scheduler, --workers and --memory-limit, or take --local-threads"
        raise ConfigurationError("", f"the cluster does not start: {reason}", cure) from error


@contextlib.contextmanager
def _preparing(output: str) -> Iterator[None]:
    """Tell an output that cannot be written from an item that fails."""
    try:
        yield
    except Jp2BatchError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(output, f"cannot be written: {reason}", "check the path and the rights") from None


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM do what SIGINT does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def progress_bar(total: int, kept: int, client: Any, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Show a bar, where somebody looks at it; give what moves it."""
    from tqdm import tqdm

    if shown and client is not None and client.dashboard_link:
        sys.stderr.write(f"dashboard: {client.dashboard_link}\n")
    bar: Any = tqdm(total=total, initial=kept, unit="item", disable=not (shown and sys.stderr.isatty()))

    def move(failed: int) -> None:
        if failed:
            bar.set_postfix(failed=failed, refresh=False)
        bar.update()

    with bar:
        yield move
