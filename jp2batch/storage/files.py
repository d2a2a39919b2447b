"""Whole small files by any URL: manifests, metadata, results."""

import contextlib
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec.core
import fsspec.utils

from jp2batch.errors import StorageError
from jp2batch.storage.faults import Place, translated, without_credentials


def write_bytes(url: str, data: bytes, *, storage_options: Mapping[str, Any] | None = None) -> None:
    """Write a file, so that it is there whole or not at all.

    Parameters
    ----------
    url : str
        Path or URL; what is there already is replaced.
    data : bytes
        Its content.
    storage_options : mapping, optional
        fsspec's options for the store.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    with _writing(url, storage_options) as (fs, path):
        if _is_local(fs):
            _replace(Path(path), lambda temporary: _write_new(temporary, data))
        else:
            fs.pipe_file(path, data)  # an object store makes it visible when the last byte is there


def write_folder(url: str, files: Mapping[str, bytes], *, storage_options: Mapping[str, Any] | None = None) -> None:
    """Write a folder in place of what is there; a local one so that it is there whole or not at all.

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
    StorageError
        It cannot be written.
    """
    with _writing(url, storage_options) as (fs, path):
        if _is_local(fs):
            _replace(Path(path), lambda temporary: _write_all(temporary, files))
        else:
            if fs.exists(path):
                fs.rm(path, recursive=True)
            fs.pipe({f"{path}/{name}": data for name, data in files.items()})


@contextlib.contextmanager
def _writing(url: str, options: Mapping[str, Any] | None) -> Iterator[tuple[Any, str]]:
    """Find the file system, and let whatever fails be an error of ours."""
    place = Place(without_credentials(url), fsspec.utils.get_protocol(url), dict(options or {}))
    try:
        yield fsspec.core.url_to_fs(url, **place.options)
    except Exception as error:  # noqa: BLE001  # each driver has its own
        reason = getattr(error, "strerror", None) or translated(error, place).problem
        raise StorageError(place.path, f"cannot be written: {reason}", "check the path and the rights") from None


def _is_local(fs: Any) -> bool:
    return "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    """Write under another name beside it, and take its place when all is there."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        write(temporary)
        if path.is_dir() and temporary.is_dir():
            old = path.rename(temporary.with_name(f"{temporary.name}.old"))  # a folder does not replace another
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # gone, if all went well
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
