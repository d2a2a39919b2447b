"""Access to a folder of results, local or in a store."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from jp2batch.storage.files import is_local, read_bytes, write_bytes, writing


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

    def has(self, name: str) -> bool:
        """Return whether a file of this name exists; subfolders are allowed."""
        with writing(self.url, self._options) as (fs, path):
            there: bool = fs.exists(f"{path}/{name}")
            return there

    def make(self) -> None:
        """Create the folder if it is local; stores need no folders."""
        with writing(self.url, self._options) as (fs, path):
            if is_local(fs):
                Path(path).mkdir(parents=True, exist_ok=True)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files and folders from the folder."""
        with writing(self.url, self._options) as (fs, path):
            gone = [f"{path}/{name}" for name in names]
            if gone:
                fs.rm(gone, recursive=True)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None if it does not exist."""
        if not self.has(name):
            return None
        return read_bytes(f"{self.url}/{name}", storage_options=self._options)

    def write(self, name: str, data: bytes) -> None:
        """Write a file into the folder."""
        write_bytes(f"{self.url}/{name}", data, storage_options=self._options)
