"""Resume a run: check existing output and records, list the remaining items. Nothing is removed."""

import contextlib
import errno
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jp2batch.batch.options import RunOptions
from jp2batch.batch.outputs import Output
from jp2batch.batch.records import RecordEntry, keep_records, read_records
from jp2batch.core.errors import InvalidRequest, StorageError
from jp2batch.core.request import Request

try:
    import fcntl
except ImportError:  # on Windows: there, nobody stops a second run
    fcntl = None  # type: ignore[assignment]


def check_options(options: RunOptions) -> None:
    """Refuse options that contradict each other.

    Raises
    ------
    InvalidRequest
        They do.
    """
    if options.continues and options.overwrite:
        problem = "overwrite=True contradicts resume=True and retry_failed=True"
        raise InvalidRequest(options.output, problem, "leave one of them out")
    if options.continues and options.output == "-":
        raise InvalidRequest("", "results on the standard output cannot be resumed", "give a file as output=")


def check_existing(sink: Output, options: RunOptions) -> None:
    """Refuse to mix two batches.

    Raises
    ------
    InvalidRequest
        There are results that are not asked to be continued or replaced, or none that could be.
    """
    again = options.continues or options.overwrite
    foreign = sink.foreign() if again else None
    if foreign is not None:
        raise InvalidRequest(foreign, "this is not what an earlier run has written", "give another name")
    if options.retry_failed and not sink.recorded():
        raise InvalidRequest(options.output, "there are no records of an earlier run", "leave out retry_failed=True")
    if not again and sink.exists():
        hint = "continue it with resume=True, replace it with overwrite=True, or give another name"
        raise InvalidRequest(options.output, "there are results already", hint)


def check_apart(sink: Output, sources: Iterable[str]) -> None:
    """Refuse to write to the files that the batch is made from.

    Raises
    ------
    InvalidRequest
        The output or its records are one of them.
    """
    for source in filter(os.path.exists, sources):
        for path in filter(os.path.exists, sink.locks):
            if os.path.samefile(source, path):  # noqa: PTH121  # either may be text
                raise InvalidRequest(str(path), "this is the manifest, which would be lost", "give another name")


def check_writable(sink: Output) -> None:
    """Refuse a local place that cannot be written, without writing to it.

    Raises
    ------
    OSError
        A folder is missing, or the rights to it.
    """
    for path in sink.locks:
        _check_folder(path.parent, path, make=sink.folder is not None)
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    if sink.folder is not None:
        _check_folder(sink.folder, sink.folder, make=True)


def _check_folder(folder: Path, path: Path, *, make: bool) -> None:
    """Refuse a folder in which nothing can be made, or that cannot be made itself."""
    while make and not folder.exists() and folder != folder.parent:
        folder = folder.parent
    fault = 0 if os.access(folder, os.W_OK | os.X_OK) else errno.EACCES
    if not folder.is_dir():
        fault = errno.ENOTDIR if folder.exists() else errno.ENOENT
    if fault:
        raise OSError(fault, os.strerror(fault), str(path))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run has to do, given what an earlier one has left."""

    before: Mapping[str, RecordEntry]
    """The records of these items that still hold, by id."""
    todo: Sequence[Request]
    """The items that are to be run."""
    outdated: set[str]
    """The ids of records that hold no more as soon as the first output is written."""
    stamp: object
    """What changes when another run writes records."""


def plan_run(sink: Output, items: Sequence[Request], options: RunOptions) -> Plan:
    """Compare the items with records and output of an earlier run; change nothing.

    Raises
    ------
    InvalidRequest
        The records are of paths below another root.
    """
    stamp = stamp_of(sink.records)
    found = sink.recorded()
    if not options.continues:
        return Plan({}, items, set(found), stamp)
    _check_root(sink.records, found.values(), items)
    changed = {item.id for item in items if item.id in found and not found[item.id].is_of(item)}
    there = sink.stored({id_: entry for id_, entry in found.items() if entry.ok and id_ not in changed})
    valid = {id_: entry for id_, entry in found.items() if id_ in there or not (entry.ok or id_ in changed)}
    before = {item.id: valid[item.id] for item in items if item.id in valid}
    todo = left_to_do(items, before, retry_failed=options.retry_failed)
    return Plan(before, todo, sink.outdated(found, todo), stamp)


def stamp_of(path: Path | None) -> tuple[int, int, int] | None:
    """Return what tells whether a file has been written to; None if there is none."""
    if path is None or not path.exists():
        return None
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def forget(sink: Output, outdated: Container[str]) -> None:
    """Drop records whose output will be replaced by something else: a killed run must not leave them."""
    if sink.records is not None:
        keep_records(sink.records, (entry for id_, entry in read_records(sink.records).items() if id_ not in outdated))


def tidy(sink: Output) -> None:
    """Remove what a complete run has replaced; if there is no space for that, the next run does it."""
    if sink.untidy:
        with contextlib.suppress(OSError):
            sink.tidy()


def tidy_only(sink: Output) -> None:
    """End a resumed run that has nothing to read as any other."""
    with locked(sink.locks, make=sink.folder is not None):
        sink.fetch_records()
        compact(sink)
        tidy(sink)


def compact(sink: Output) -> None:
    """Keep only the last record of each item; if there is no space for that, the next run does it."""
    with contextlib.suppress(OSError):
        forget(sink, ())


def left_to_do(items: Sequence[Request], before: Mapping[str, RecordEntry], *, retry_failed: bool) -> list[Request]:
    """Return the items that are to be run, given the records of an earlier run."""
    failed = {id_ for id_, entry in before.items() if not entry.ok}
    if retry_failed:
        return [item for item in items if item.id in failed]
    return [item for item in items if item.id in failed or item.id not in before]


def _check_root(records: Path | None, entries: Iterable[RecordEntry], items: Sequence[Request]) -> None:
    roots = {entry.root for entry in entries}
    if roots and roots.isdisjoint({item.shown_root for item in items}):
        earlier = min(root or "" for root in roots)
        problem = f"its records are of paths below {earlier}" if earlier else "its records are of paths without a root"
        hint = f"give root={earlier}" if earlier else "leave out root="
        raise InvalidRequest(str(records), problem, f"{hint}, or another output")


@contextlib.contextmanager
def locked(paths: Iterable[Path], *, make: bool) -> Iterator[None]:
    """Hold the right to write files, for the time of a `with` block.

    It is the system's lock on a hidden file beside each: it ends with the process, however that ends. With `make`,
    their folders are made, and removed again if nothing comes into them.

    Raises
    ------
    StorageError
        Another run holds it.
    """
    with contextlib.ExitStack() as stack:
        for path in sorted(set(paths)):
            if make:
                stack.enter_context(_made(path.parent))
            stack.enter_context(_locked(path))
        yield


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if new:
            with contextlib.suppress(OSError):  # results have come
                folder.rmdir()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    if fcntl is None:
        yield
        return
    lock = path.with_name(f".{path.name}.lock")
    handle = _held(lock, path)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def _held(lock: Path, path: Path) -> int:
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise StorageError(str(path), "another run is writing to it", "wait for it, or give another name") from None
        except OSError:  # a file system without locks
            return handle
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(handle).st_ino == lock.stat().st_ino:
                return handle
        os.close(handle)  # it was that of a run that has just ended, and is gone
