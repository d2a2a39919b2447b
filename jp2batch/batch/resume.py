"""Resume a run: check existing output and records, list remaining items."""

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
except ImportError:  # on Windows, where a second run is not prevented
    fcntl = None  # type: ignore[assignment]


def check_options(options: RunOptions) -> None:
    """Refuse contradictory options.

    Raises
    ------
    InvalidRequest
        The options contradict each other.
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
        Results exist and no option says to resume or replace them; or there is nothing to resume; or the output exists
        and is not of this package.
    """
    again = options.continues or options.overwrite
    foreign = sink.foreign() if again else None
    if foreign is not None:
        raise InvalidRequest(foreign, "this was not written by an earlier run", "give another name")
    if options.retry_failed and not sink.recorded():
        raise InvalidRequest(options.output, "records of an earlier run are missing", "leave out retry_failed=True")
    if not again and sink.exists():
        hint = "continue it with resume=True, replace it with overwrite=True, or give another name"
        raise InvalidRequest(options.output, "results exist already", hint)


def check_apart(sink: Output, sources: Iterable[str]) -> None:
    """Refuse to overwrite the input files of a batch.

    Raises
    ------
    InvalidRequest
        The output or its records are an input file, e.g. the manifest.
    """
    for source in filter(os.path.exists, sources):
        for path in filter(os.path.exists, sink.locks):
            if os.path.samefile(source, path):  # noqa: PTH121  # either may be text
                raise InvalidRequest(str(path), "this is the manifest, and would be overwritten", "give another name")


def check_writable(sink: Output) -> None:
    """Refuse a local output without write access, without writing to it.

    Raises
    ------
    OSError
        A folder or the permission to write to it is missing.
    """
    for path in sink.locks:
        _check_folder(path.parent, path, make=sink.folder is not None)
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    if sink.folder is not None:
        _check_folder(sink.folder, sink.folder, make=True)


def _check_folder(folder: Path, path: Path, *, make: bool) -> None:
    """Refuse a folder without write access; if `make`, check its nearest parent."""
    while make and not folder.exists() and folder != folder.parent:
        folder = folder.parent
    fault = 0 if os.access(folder, os.W_OK | os.X_OK) else errno.EACCES
    if not folder.is_dir():
        fault = errno.ENOTDIR if folder.exists() else errno.ENOENT
    if fault:
        raise OSError(fault, os.strerror(fault), str(path))


@dataclass(frozen=True, slots=True)
class Plan:
    """Items of a run, after comparison with an earlier run."""

    before: Mapping[str, RecordEntry]
    """Valid records of these items, by id."""
    todo: Sequence[Request]
    """Items to run."""
    outdated: set[str]
    """Ids of records made invalid by the first new output."""
    stamp: object
    """Stamp of the file of records; another run changes it."""


def plan_run(sink: Output, items: Sequence[Request], options: RunOptions) -> Plan:
    """Compare items with an earlier run's records and output; change nothing.

    Raises
    ------
    InvalidRequest
        The records are of paths with another root.
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
    """Return inode, size and modification time; None without a file."""
    if path is None or not path.exists():
        return None
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def forget(sink: Output, outdated: Container[str]) -> None:
    """Remove records of outputs about to be replaced.

    If the run is killed, no record may describe an output with other content.
    """
    if sink.records is not None:
        keep_records(sink.records, (entry for id_, entry in read_records(sink.records).items() if id_ not in outdated))


def tidy(sink: Output) -> None:
    """Remove replaced outputs after a complete run; ignore a full disk.

    The next run will do it again.
    """
    if sink.untidy:
        with contextlib.suppress(OSError):
            sink.tidy()


def tidy_only(sink: Output) -> None:
    """Finish a resumed run without remaining items."""
    with locked(sink.locks, make=sink.folder is not None):
        sink.fetch_records()
        compact(sink)
        tidy(sink)


def compact(sink: Output) -> None:
    """Keep only the last record of each item; ignore a full disk.

    The next run will do it again.
    """
    with contextlib.suppress(OSError):
        forget(sink, ())


def left_to_do(items: Sequence[Request], before: Mapping[str, RecordEntry], *, retry_failed: bool) -> list[Request]:
    """Return the items left to run by an earlier run."""
    failed = {id_ for id_, entry in before.items() if not entry.ok}
    if retry_failed:
        return [item for item in items if item.id in failed]
    return [item for item in items if item.id in failed or item.id not in before]


def _check_root(records: Path | None, entries: Iterable[RecordEntry], items: Sequence[Request]) -> None:
    roots = {entry.root for entry in entries}
    if roots and roots.isdisjoint({item.shown_root for item in items}):
        earlier = min(root or "" for root in roots)
        problem = (
            f"its records are of paths with root {earlier}" if earlier else "its records are of paths without root"
        )
        hint = f"give root={earlier}" if earlier else "leave out root="
        raise InvalidRequest(str(records), problem, f"{hint}, or another output")


@contextlib.contextmanager
def locked(paths: Iterable[Path], *, make: bool) -> Iterator[None]:
    """Lock files against other runs for a `with` block.

    Locks a hidden file beside each with `flock`; the lock ends with the process. With `make`, missing folders are made,
    and removed again if they stay empty.

    Raises
    ------
    StorageError
        Another run holds a lock.
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
            with contextlib.suppress(OSError):  # not empty
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
        os.close(handle)  # the lock file of a run that has just ended, and removed it
