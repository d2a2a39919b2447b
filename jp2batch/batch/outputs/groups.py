"""Output as groups in a Zarr store."""

import contextlib

from jp2batch.array.zarr_files import EMPTY_GROUP, METADATA, consolidated, has_consolidated
from jp2batch.batch.outputs.folder import Folder
from jp2batch.batch.records.book import RecordBook
from jp2batch.batch.records.log import RecordLog
from jp2batch.compute.result import Result
from jp2batch.core.errors import StorageError
from jp2batch.core.options import StorageOptions

_MOST = 5000  # groups in consolidated metadata: some 8 KB each, in a single object


class GroupStore(Folder):
    """A Zarr store with a group for each item.

    When a run is complete, the metadata of all groups are copied to the root: a reader needs no listing. They are
    removed from it when a group is written.
    """

    def __init__(self, url: str, storage_options: StorageOptions = None) -> None:
        super().__init__(url, "", storage_options)
        self._is_consolidated = False

    def open(self, *, overwrite: bool) -> None:
        """Create the root group; restore groups moved aside."""
        super().open(overwrite=overwrite)
        root = self._folder.read(METADATA)
        self._is_consolidated = root is not None and has_consolidated(root)
        if root is None:
            self._folder.write(METADATA, EMPTY_GROUP)

    def put(self, result: Result) -> Result:
        """Make the group visible to readers of the root."""
        if self._is_consolidated:
            self._folder.write(METADATA, EMPTY_GROUP)
            self._is_consolidated = False
        return super().put(result)

    def tidy(self, log: RecordLog) -> None:  # noqa: ARG002
        """Copy the metadata of all groups to the root.

        It is not done for very many groups, nor for groups of earlier versions. A failure changes nothing.
        """
        if self._is_consolidated:
            return
        with contextlib.suppress(StorageError):
            names = sorted(self.stored(RecordBook()))
            if not 0 < len(names) <= _MOST:
                return
            found = dict(self._folder.read_many(f"{name}/{METADATA}" for name in names))
            if all(map(has_consolidated, found.values())):
                members = {path.removesuffix(f"/{METADATA}"): data for path, data in found.items()}
                self._folder.write(METADATA, consolidated(EMPTY_GROUP, members))
