"""Whole small files by any URL: manifests, metadata, results."""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec.core

from jp2batch.errors import StorageError
from jp2batch.storage.faults import without_credentials


def write_bytes(url: str, data: bytes, *, storage_options: Mapping[str, Any] | None = None) -> None:
    """Write a file, so that it is there whole or not at all.

    Raises
    ------
    StorageError
        It cannot be written.
    """
    try:
        fs, path = fsspec.core.url_to_fs(url, **(storage_options or {}))
        if "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)):
            _write_local(Path(path), data)
        else:
            fs.pipe_file(path, data)  # an object store makes it visible when the last byte is there
    except (OSError, ValueError, ImportError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(without_credentials(url), f"cannot be written: {reason}", "check the path") from None


def _write_local(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
