"""Listings of folders to read from, local or in a store."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from jp2batch.core.store_settings import store_costs
from jp2batch.storage.archive_directory import ARCHIVES, directory_of
from jp2batch.storage.callers import request
from jp2batch.storage.drivers.fsspec_driver import driver_options, repair_after_fork
from jp2batch.storage.errors import translate_error
from jp2batch.storage.file_systems import file_system
from jp2batch.storage.source import open_archive
from jp2batch.storage.store_options import locate


@request(is_long=True)
def list_names(url: str, *, storage_options: Mapping[str, object] | None = None) -> set[str]:
    """Return the names of files and folders directly in a folder.

    Raises
    ------
    StorageError
        The folder is missing, or cannot be listed.
    """
    if (files := _files_in_archive(url, storage_options)) is not None:
        return {file.partition("/")[0] for file in files}
    with _folder(url, storage_options) as (fs, path):
        entries = (str(entry["name"]).rstrip("/") for entry in fs.ls(path, detail=True))
        own = path.rstrip("/")  # a store may also have an object with the folder's name
        return {name.rpartition("/")[2] for name in entries if name != own}


@request(is_long=True)
def list_files(url: str, *, storage_options: Mapping[str, object] | None = None) -> list[str]:
    """Return all files below a folder, by their relative paths, sorted.

    Raises
    ------
    StorageError
        The folder cannot be listed.
    """
    if (files := _files_in_archive(url, storage_options)) is not None:
        return sorted(files)
    with _folder(url, storage_options) as (fs, path):
        start = len(path.rstrip("/")) + 1
        return sorted(name[start:] for name in fs.find(path) if len(name) > start)


def _files_in_archive(url: str, storage_options: Mapping[str, object] | None) -> list[str] | None:
    """Return all files below an archive's folder; None for other folders."""
    location = locate(url, storage_options)
    if location.scheme not in ARCHIVES or not location.chain:
        return None
    with contextlib.closing(open_archive(location)) as archive:
        members = directory_of(archive, location.scheme).members
    folder = f"{location.path.strip('/')}/".lstrip("/")
    return [name.removeprefix(folder) for name in members if name.startswith(folder)]


@contextlib.contextmanager
def _folder(url: str, storage_options: Mapping[str, object] | None) -> Iterator[tuple[Any, str]]:
    """Open the file system of a folder; translate its errors."""
    location = locate(url, storage_options)
    try:
        repair_after_fork()
        fs, path = file_system(location, driver_options(location, store_costs(location.scheme)))
        fs.invalidate_cache()
        yield fs, path
    except Exception as error:  # noqa: BLE001  # each driver has its own
        raise translate_error(error, location, "listing it") from None
