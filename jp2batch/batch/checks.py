"""Refuse a run before it changes anything: options, places, rights."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from jp2batch.batch.options import RunOptions
from jp2batch.batch.outputs import Output
from jp2batch.batch.resume import EarlierRun
from jp2batch.core.errors import InvalidRequest
from jp2batch.storage.files import is_same_file


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
    for name in ("verify", "clean"):
        if getattr(options, name) and not options.continues:
            raise InvalidRequest(options.output, f"{name}=True means nothing for a new run", "give resume=True, too")


def check_existing(earlier: EarlierRun, options: RunOptions) -> None:
    """Refuse to mix two batches.

    Raises
    ------
    InvalidRequest
        Results exist and no option says to resume or replace them; or there is nothing to resume; or the output exists
        and is not of this package.
    """
    again = options.continues or options.overwrite
    foreign = earlier.foreign() if again else None
    if foreign is not None:
        raise InvalidRequest(foreign, "this was not written by an earlier run", "give another name")
    if options.retry_failed and not len(earlier.book):
        raise InvalidRequest(options.output, "records of an earlier run are missing", "leave out retry_failed=True")
    if not again and earlier.exists():
        hint = "continue it with resume=True, replace it with overwrite=True, or give another name"
        raise InvalidRequest(options.output, "results exist already", hint)


def check_apart(paths: Iterable[Path], sources: Iterable[str]) -> None:
    """Refuse to overwrite the input files of a batch.

    Raises
    ------
    InvalidRequest
        The output or its records are an input file, e.g. the manifest.
    """
    for source in filter(os.path.exists, sources):
        for path in filter(os.path.exists, paths):
            if is_same_file(source, path):
                raise InvalidRequest(str(path), "this is the manifest, and would be overwritten", "give another name")


def check_records_apart(output: Path | None, records: Iterable[Path]) -> None:
    """Refuse records in the place of the results.

    Raises
    ------
    InvalidRequest
        The records are the output, by any name.
    """
    for path in records:
        if output is not None and is_same_file(path, output):
            problem = "these are the results, and the records need another place"
            raise InvalidRequest(str(path), problem, "name another file")


def check_writable(output: Output, paths: Iterable[Path]) -> None:
    """Refuse a local output without write access, without writing to it.

    Raises
    ------
    OSError
        A folder or the permission to write to it is missing.
    """
    for path in paths:
        _check_folder(path.parent, path, make=output.is_folder)
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    if output.is_folder and output.path is not None:
        _check_folder(output.path, output.path, make=True)


def _check_folder(folder: Path, path: Path, *, make: bool) -> None:
    """Refuse a folder without write access; if `make`, check its nearest parent."""
    while make and not folder.exists() and folder != folder.parent:
        folder = folder.parent
    fault = 0 if os.access(folder, os.W_OK | os.X_OK) else errno.EACCES
    if not folder.is_dir():
        fault = errno.ENOTDIR if folder.exists() else errno.ENOENT
    if fault:
        raise OSError(fault, os.strerror(fault), str(path))
