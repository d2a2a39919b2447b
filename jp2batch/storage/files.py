"""Reading and writing of whole small files: manifests, metadata, results."""

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from jp2batch.core import config
from jp2batch.core.errors import OutputError, StoreUnavailable
from jp2batch.core.store_settings import store_costs
from jp2batch.storage.callers import request
from jp2batch.storage.deadline import write_limit
from jp2batch.storage.drivers.fsspec_driver import driver_options, repair_after_fork, store_class
from jp2batch.storage.errors import translate_error
from jp2batch.storage.file_systems import file_system
from jp2batch.storage.retry import retried_now
from jp2batch.storage.store_options import locate
from jp2batch.storage.streams import read_chunks

LARGEST = 2**30
"""Largest size of a file in bytes, also after decompression.

Protects from gzip bombs.
"""


@dataclass(frozen=True, slots=True)
class WrittenBytes:
    """Size and checksum of a written file or folder."""

    size: int
    """Bytes of all its files."""
    md5: str
    """MD5 in hex digits.

    Of a folder, the MD5 of the sorted names and MD5s of its files.
    """

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return size and checksum of the content of a file."""
        return cls(len(data), _md5(data))

    @classmethod
    def of_folder(cls, files: Mapping[str, Self]) -> Self:
        """Return size and checksum of a folder of files."""
        names = "".join(f"{name}:{files[name].md5}\n" for name in sorted(files))
        return cls(sum(file.size for file in files.values()), _md5(names.encode("utf-8", "surrogatepass")))


def _md5(data: bytes) -> str:
    """Return the MD5 of bytes, in most stores their ETag."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def read_bytes(url: str, *, storage_options: Mapping[str, object] | None = None, limit: int = LARGEST) -> bytes:
    """Read a whole file, decompressing gzip data with any suffix.

    Parameters and errors are as for `read_chunks`.
    """
    return b"".join(read_chunks(url, storage_options=storage_options, limit=limit))


@request()
def write_bytes(url: str, data: bytes, *, storage_options: Mapping[str, object] | None = None) -> WrittenBytes:
    """Write a file atomically; return its size and checksum.

    Parameters
    ----------
    url : str
        Path or URL; an existing file is replaced.
    data : bytes
        Its content.
    storage_options : mapping, optional
        fsspec's options for the store.

    Raises
    ------
    OutputError
        The file cannot be written.
    StoreUnavailable
        The store failed, but a later attempt may succeed.
    """

    def put() -> None:
        with writing(url, storage_options) as (fs, path):
            if is_local(fs):
                _replace(Path(path), lambda temporary: _write_new(temporary, data))
            else:
                # An object store shows the object after the last byte has arrived.
                fs.pipe_file(path, data, **write_limit(fs, len(data)))

    retried_now(put, config.retry_policy())
    return WrittenBytes.of(data)


def write_folder(
    url: str, files: Mapping[str, bytes], *, storage_options: Mapping[str, object] | None = None
) -> WrittenBytes:
    """Write a folder, replacing an existing folder; return size and checksum.

    A local folder is written completely before it replaces the old folder. In an object store, objects are replaced in
    turn, the shortest name last: the metadata of a Zarr group proves that its other objects are there. Old objects
    without a successor are removed in the end.

    Parameters
    ----------
    url : str
        Path or URL of the folder.
    files : mapping
        Contents by name below the folder.
    storage_options : mapping, optional
        fsspec's options for the store.

    Raises
    ------
    OutputError, StoreUnavailable
        As for `write_bytes`.
    """

    def put() -> None:
        with writing(url, storage_options) as (fs, path):
            if is_local(fs):
                _replace(Path(path), lambda temporary: _write_all(temporary, files))
            else:
                *first, last = sorted(files, key=lambda name: (-name.count("/"), name))
                limit = write_limit(fs, sum(map(len, files.values())))
                fs.pipe({f"{path}/{name}": files[name] for name in first}, **limit)
                fs.pipe_file(f"{path}/{last}", files[last], **limit)
                fs.invalidate_cache()
                new = {f"{path}/{name}" for name in files}
                others = [name for name in fs.find(path) if name.startswith(f"{path}/") and name not in new]
                if others:
                    fs.rm(others, **limit)

    retried_now(put, config.retry_policy())
    return WrittenBytes.of_folder({name: WrittenBytes.of(data) for name, data in files.items()})


@contextlib.contextmanager
def writing(url: str, storage_options: Mapping[str, object] | None) -> Iterator[tuple[Any, str]]:
    """Open the file system of a URL; translate its errors."""
    location = locate(url, storage_options)
    try:
        options = driver_options(location, store_costs(location.scheme))
        repair_after_fork()
        fs, path = file_system(location, options)
        store_class(fs).repeat_nothing(fs)
        yield fs, path
    except Exception as error:  # noqa: BLE001  # each driver has its own
        fault = translate_error(error, location)
        reason = getattr(error, "strerror", None)
        problem = f"cannot be written: {location.redact(str(reason)) if reason else fault.problem}"
        if fault.retryable:
            raise StoreUnavailable(location, problem, "try again") from None
        raise OutputError(location, problem, "check the path, the rights and the space") from None


def is_same_file(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Return whether two local paths name one file, which need not exist."""
    with contextlib.suppress(OSError):
        return os.path.samefile(one, other)  # noqa: PTH121  # either may be text
    return os.path.realpath(one) == os.path.realpath(other)


def is_local(fs: Any) -> bool:
    """Return whether a file system is local."""
    return "file" in protocols_of(fs)


def protocols_of(fs: Any) -> tuple[str, ...]:
    """Return the protocols of a file system, by fsspec's names."""
    return fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    """Write to a temporary name beside `path`, then rename."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        write(temporary)
        if path.is_dir() and temporary.is_dir():
            old = path.rename(temporary.with_name(f"{temporary.name}.old"))  # a folder cannot be renamed onto a folder
            try:
                temporary.rename(path)
            except OSError:
                with contextlib.suppress(OSError):  # another writer has created the folder meanwhile
                    old.rename(path)
                raise
            shutil.rmtree(old)
        else:
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # absent after success
            shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink()


def _write_new(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)


def _write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for name, data in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _write_new(target, data)
