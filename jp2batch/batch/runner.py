"""A batch from its requests to its output: begun, watched, interrupted, resumed."""

import contextlib
import errno
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from jp2batch.batch.cluster import Engine, check_cluster, engine_of, started
from jp2batch.batch.items import Reads, items_of
from jp2batch.batch.progress import announce, progress_bar, remark_on_level
from jp2batch.batch.records import LineWriter, line_of
from jp2batch.batch.recovery import check_apart, check_existing, check_options, compact, left_to_do, locked, recover
from jp2batch.batch.report import BatchSummary, Result
from jp2batch.batch.run import results
from jp2batch.batch.sinks import Sink, sink_for
from jp2batch.errors import Jp2BatchError, OutputError, StorageError
from jp2batch.manifest.read import read_manifest
from jp2batch.reader import StorageOptions
from jp2batch.request import Request
from jp2batch.storage.flags import options_for_manifest, options_from_flags
from jp2batch.urls import without_credentials

STORAGE_FLAGS = ("more", "endpoint_url", "no_sign_request", "request_payer", "profile", "region")
_ENGINE_FLAGS = ("scheduler", "workers", "threads", "memory_limit", "local_threads")


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
    sources: Sequence[str] = (),
    on_begin: Callable[[BatchSummary], object] = lambda _: None,
) -> BatchSummary:
    """Do all requests, and store what they give and a record of each.

    Parameters
    ----------
    requests : sequence of Request
        What to do: an item each, as `jp2batch.batch.items.items_of` names them. What is asked twice is read once.
    output, form, records
        Where results and records go, as for `jp2batch.batch.sinks.sink_for`.
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
        fsspec's options for the stores of images and output, or for each by its protocol.
    progress : bool
        Show a bar, where somebody looks at it, and the address of the dashboard on stderr.
    sources : sequence of str, optional
        Files that must not be written to, as the manifest.
    on_begin : callable, optional
        Is given the summary as the work begins; it tells how far the run came, however that ends.

    Returns
    -------
    BatchSummary
        Counts and sums. The results are where they belong, and not in memory.

    Raises
    ------
    InvalidRequest
        The options contradict each other, or what is there already.
    ConfigurationError
        What is to do the work does not start, or lacks a package.
    StorageError
        The output cannot be written: nothing has been begun.
    OutputError
        The output cannot be written any more: what is recorded is kept.
    """
    mode = {"resume": resume, "retry_failed": retry_failed, "overwrite": overwrite}
    check_options(output, **mode)
    items = items_of(requests)
    reads = Reads(items)
    sink = sink_for(output, reads.all(), form, records, storage_options)
    check_apart(sink, sources)
    summary = BatchSummary(len(items))
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        check = stack.enter_context(_interrupted_between())
        with _preparing(output):
            check_existing(sink, output, **mode)
            stack.enter_context(locked(sink.locks, make=sink.in_folder))
            sink.fetch_records()
            check_existing(sink, output, **mode)
            before = recover(sink, items) if resume or retry_failed else {}
        todo = left_to_do(items, before, retry_failed=retry_failed)
        wanted = {item.id for item in todo}
        summary.kept = sum(entry.ok for entry in before.values())
        summary.failures = Counter(e.failure for id_, e in before.items() if not e.ok and id_ not in wanted)
        if todo:
            on_begin(summary)
            stack.enter_context(_telling_the_end(summary, start))
            client = _start(stack, engine, sink, progress=progress)
            check()
            store = _opened(stack, sink, output, overwrite=overwrite, again=bool(before))
            bar = stack.enter_context(progress_bar(len(items), before=len(items) - len(todo), shown=progress and None))
            stream = results(reads.of(todo), client, sink.deliver, storage_options, check=check)
            for _, found in stack.enter_context(contextlib.closing(stream)):
                for result in reads.results(found, wanted):
                    store(result)
                    summary.add(result)
                    bar.add(result)
                if fail_fast and found.error is not None:
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
        On SIGINT and, in the main thread, on SIGTERM. What is recorded is kept.
    """
    with _ended_by_sigterm():
        flags = {name: options.pop(name) for name in STORAGE_FLAGS}
        engine = engine_of(**{name: options.pop(name) for name in _ENGINE_FLAGS})
        also = [output] if "://" in output else []
        requests, storage_options = manifest_requests(manifest, rlevel=rlevel, root=root, flags=flags, also=also)
        remark_on_level(rlevel, requests, shown=bool(options.get("progress")))
        return run_to(requests, output, engine=engine, storage_options=storage_options, sources=[manifest], **options)


def manifest_requests(
    manifest: str, *, rlevel: int, root: str | None, flags: Mapping[str, Any], also: Sequence[str] = ()
) -> tuple[list[Request], dict[str, Any]]:
    """Return what a manifest asks for, and the options that storage flags stand for.

    Parameters
    ----------
    manifest, rlevel, root
        As for `jp2batch.read_manifest`.
    flags : mapping
        Those of `STORAGE_FLAGS`.
    also : sequence of str
        URLs that the flags are for as well.

    Raises
    ------
    ManifestError
        Rows are bad, or there is none.
    """
    known = options_for_manifest(manifest, root, **flags)
    requests = read_manifest(manifest, rlevel=rlevel, root=root, storage_options=known)
    return requests, options_from_flags([*(request.url for request in requests), *also], **flags)


def _start(stack: contextlib.ExitStack, engine: Engine, sink: Sink, *, progress: bool) -> Any:
    """Start what does the work, and see that it can; tell where it can be watched."""
    client = started(stack, engine)
    if client is not None:
        check_cluster(client, sink.packages)
    announce(client, shown=progress)
    return client


def _opened(
    stack: contextlib.ExitStack, sink: Sink, output: str, *, overwrite: bool, again: bool
) -> Callable[[Result], None]:
    """Open the output for the time of a stack; return what stores a result: first its output, then its record."""
    with _preparing(output):
        if overwrite:
            sink.clear()
        sink.open()
        stack.callback(sink.close)
        if again:
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
    name = str(error.filename or "the standard output") if output == "-" else without_credentials(output)
    return kind(name, f"cannot be written: {error.strerror or error}", "check the path, the rights and the space")


@contextlib.contextmanager
def _interrupted_between() -> Iterator[Callable[[], None]]:
    """Let the first interrupt wait until what is returned is called; the second does not wait.

    In the midst of a call of the client it makes distributed stumble, which nobody needs to read about.
    """
    asked: list[int] = []

    def note(number: int, *_: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    with _on_signals(note, signal.SIGINT, signal.SIGTERM):
        yield check


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM do what SIGINT does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with _on_signals(interrupt, signal.SIGTERM):
        yield


@contextlib.contextmanager
def _on_signals(handler: Callable[..., None], *numbers: signal.Signals) -> Iterator[None]:
    """Let a handler have signals, where that is possible: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, other in before.items():
            signal.signal(number, other)
