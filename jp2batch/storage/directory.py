"""Access to a folder of results, local or in a store."""

import base64
import contextlib
import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import compress, islice
from pathlib import Path
from typing import Self

from jp2batch.storage.callers import request
from jp2batch.storage.conditional import PreconditionFailed, VersionedBytes, put_new, put_over, read_version
from jp2batch.storage.deadline import write_limit
from jp2batch.storage.files import is_local, protocols_of, read_bytes, write_bytes, writing

_MD5 = re.compile(r'"?([0-9a-f]{32})"?')
_TOGETHER = 32  # files read at once
_SYNCED = 8  # files made durable at once
_MOVED = 8  # files moved at once
_COPYING = frozenset({"s3", "gs"})  # stores that copy an object before they answer
_REMOVED = 10_000  # bytes that could be written in the time to remove a file
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in a listing."""

    size: int
    """Its size in bytes."""
    modified: float
    """Time of its last change in seconds; 0 if unknown."""
    md5: str = ""
    """Its MD5 in hex digits, if the store tells it."""


class Directory:
    """Files and folders directly in a folder.

    Parameters
    ----------
    url : str
        Path or URL.
    storage_options : mapping, optional
        fsspec's options for the store.

    Raises
    ------
    StorageError
        By all methods: the folder cannot be read or changed.
    """

    def __init__(self, url: str, storage_options: Mapping[str, object] | None = None) -> None:
        self.url = url.rstrip("/")
        self._options = storage_options

    def below(self, name: str) -> Self:
        """Return a folder in this folder."""
        return type(self)(f"{self.url}/{name}", self._options)

    @request(is_long=True)
    def names(self) -> set[str]:
        """Return the names in the folder; empty if the folder is missing."""
        with writing(self.url, self._options) as (fs, path):
            fs.invalidate_cache()
            try:
                found = [str(info["name"]).rstrip("/") for info in fs.ls(path, detail=True)]
            except FileNotFoundError:
                return set()
            if is_local(fs) and not Path(path).is_dir():
                raise NotADirectoryError(20, "Not a directory", path)
            own = path.rstrip("/")  # a store may also have an object with the folder's name
            return {name.rpartition("/")[2] for name in found if name != own}

    @request(is_long=True)
    def files(self, *, recursive: bool = False) -> dict[str, StoredFile]:
        """Return the files in the folder by name; empty without a folder.

        If recursive, those of its folders as well, by their relative paths.
        """
        with writing(self.url, self._options) as (fs, path):
            if is_local(fs):
                return dict(_scanned(path, "", recursive=recursive))
            fs.invalidate_cache()
            found = fs.find(path, maxdepth=None if recursive else 1, detail=True)
            start = len(path.rstrip("/")) + 1
            return {
                name[start:]: StoredFile(int(info.get("size") or 0), _modified(info), _md5_of(info))
                for name, info in found.items()
                if len(name) > start and info.get("type") != "directory"
            }

    @request()
    def file(self, name: str) -> StoredFile | None:
        """Return a file of the folder; None if it is missing."""
        with writing(self.url, self._options) as (fs, path):
            fs.invalidate_cache()
            try:
                info = fs.info(f"{path}/{name}")
            except FileNotFoundError:
                return None
            return StoredFile(int(info.get("size") or 0), _modified(info), _md5_of(info))

    @request()
    def has(self, name: str) -> bool:
        """Return whether a file of this name exists; subfolders are allowed."""
        with writing(self.url, self._options) as (fs, path):
            there: bool = fs.exists(f"{path}/{name}")
            return there

    @request()
    def make(self) -> None:
        """Create the folder if it is local; stores need no folders."""
        with writing(self.url, self._options) as (fs, path):
            if is_local(fs):
                Path(path).mkdir(parents=True, exist_ok=True)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files and folders from the folder."""
        if gone := list(names):
            self._remove(gone)

    @request()
    def drop(self) -> None:
        """Remove the folder if it is local and empty."""
        with writing(self.url, self._options) as (fs, path), contextlib.suppress(OSError):
            if is_local(fs):
                Path(path).rmdir()

    def move(self, names: Iterable[str], target: Self) -> None:
        """Move files into another folder of the store."""
        if moved := list(names):
            self._move_all(moved, target)

    @request(is_long=True)
    def _remove(self, names: list[str]) -> None:
        with writing(self.url, self._options) as (fs, path), contextlib.suppress(FileNotFoundError):  # removed before
            fs.rm([f"{path}/{name}" for name in names], recursive=True, **write_limit(fs, len(names) * _REMOVED))

    @request()
    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None if it does not exist."""
        if not self.has(name):
            return None
        return read_bytes(f"{self.url}/{name}", storage_options=self._options)

    def read_many(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Iterate over (name, content) of files, in order; some are read ahead."""
        left = iter(names)
        while group := list(islice(left, _TOGETHER)):
            yield from zip(group, self._contents(group), strict=True)

    @request(is_long=True)
    def _contents(self, names: list[str]) -> list[bytes]:
        with writing(self.url, self._options) as (fs, path):
            found = fs.cat([f"{path}/{name}" for name in names])
            return [found[f"{path}/{name}"] for name in names] if isinstance(found, dict) else [found]

    def write(self, name: str, data: bytes) -> None:
        """Write a file into the folder."""
        write_bytes(f"{self.url}/{name}", data, storage_options=self._options)

    @request()
    def read_version(self, name: str) -> VersionedBytes | None:
        """Return content and version of a small file; None without a file."""
        with writing(self.url, self._options) as (fs, path):
            return read_version(fs, f"{path}/{name}")

    @request()
    def put(self, name: str, data: bytes, old: VersionedBytes | None) -> VersionedBytes | None:
        """Write a small file if its version is still `old`.

        None stands for a missing file. Returns None if another version is there. A store without conditional writes
        replaces it nevertheless.
        """
        refused = False
        with writing(self.url, self._options) as (fs, path):
            target = f"{path}/{name}"
            try:
                if old is None:
                    return VersionedBytes(data, put_new(fs, target, data))
                if not is_local(fs):
                    return VersionedBytes(data, put_over(fs, target, data, old.tag))
            except PreconditionFailed:
                refused = True
        if refused:
            return None
        self.write(name, data)  # a local file is replaced by a rename
        return VersionedBytes(data, None)

    @request(is_long=True)
    def _move_all(self, names: list[str], target: Self) -> None:
        with ThreadPoolExecutor(_MOVED) as pool:
            copied = list(compress(names, pool.map(lambda name: self._is_copied(name, target), names)))
        if copied:
            with writing(self.url, self._options) as (fs, path):
                limit = write_limit(fs, len(copied) * _REMOVED)
                fs.rm([glob.escape(f"{path}/{name}") for name in copied], **limit)  # of S3 in a single request

    def _is_copied(self, name: str, target: Self) -> bool:
        """Copy a file; return False if it is moved already."""
        with writing(self.url, self._options) as (fs, path), writing(target.url, self._options) as (_, to):
            old, new = f"{path}/{name}", f"{to}/{name}"
            if is_local(fs):
                Path(old).replace(new)
                return False
            fs.invalidate_cache()
            try:
                if _COPYING.isdisjoint(protocols_of(fs)):
                    data = fs.cat_file(old)
                    fs.pipe_file(new, data, **write_limit(fs, len(data)))
                else:
                    fs.cp_file(old, new)
            except FileNotFoundError:  # an earlier attempt may have moved it, and its reply was lost
                if not fs.exists(new):
                    raise
                return False
            return True


def sync_files(paths: Iterable[Path]) -> None:
    """Make local files and folders durable, with their names.

    File systems with a journal write it once for several threads: a file takes a twentieth of the time.
    """
    files, parents = list(paths), set()
    for path in list(files):
        parents.add(path.parent)
        files += path.rglob("*") if path.is_dir() else ()
    with ThreadPoolExecutor(min(_SYNCED, len(files) or 1)) as pool:
        list(pool.map(_sync, files))
    for parent in parents:
        _sync(parent)


def _sync(path: Path) -> None:
    with contextlib.suppress(PermissionError):  # Windows opens no folders
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _scanned(folder: str, above: str, *, recursive: bool) -> Iterator[tuple[str, StoredFile]]:
    """Iterate over the files of a local folder."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if recursive:
                    yield from _scanned(entry.path, f"{above}{entry.name}/", recursive=True)
                continue
            with contextlib.suppress(FileNotFoundError):
                found = entry.stat()
                yield f"{above}{entry.name}", StoredFile(found.st_size, found.st_mtime)


def _modified(info: Mapping[str, object]) -> float:
    """Return the time in a file system's info."""
    found = next((info[name] for name in _TIMES if info.get(name)), None)
    if isinstance(found, str):
        with contextlib.suppress(ValueError):
            found = datetime.fromisoformat(found)
    if isinstance(found, datetime):
        return found.timestamp()
    return float(found) if isinstance(found, int | float) else 0.0


def _md5_of(info: Mapping[str, object]) -> str:
    """Return the MD5 in a file system's info, else empty."""
    if match := _MD5.fullmatch(str(info.get("ETag") or "")):
        return match[1]
    told = info.get("md5Hash") or info.get("content_md5")  # of gcsfs, as base64; of adlfs, as bytes
    with contextlib.suppress(ValueError):
        return bytes(told).hex() if isinstance(told, bytes | bytearray) else base64.b64decode(str(told or "")).hex()
    return ""
