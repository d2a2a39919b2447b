"""Existing parts by name, and their rows without records."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from jp2batch.batch.key_table import KeyTable, key_of, keys_of
from jp2batch.batch.outputs.listing import FileListing
from jp2batch.batch.records.book import RecordBook
from jp2batch.storage.directory import StoredFile
from jp2batch.storage.files import WrittenBytes

_PART = re.compile(r"part-([0-9a-f]{16})-([0-9a-f]{16})-([1-9][0-9]*)\.[a-z]+")
_DIGITS = 16  # of digests in a name

IdsIn = Callable[[Sequence[str]], Iterable[Sequence[str]]]
"""Function to read the ids of parts; none of a damaged part."""


def part_name(manifest: str, part: bytes, rows: int, suffix: str) -> str:
    """Return the name of a part, which proves its content.

    `manifest` is the fingerprint of the items of its run.
    """
    return f"part-{manifest[:_DIGITS]:0<{_DIGITS}}-{WrittenBytes.of(part).md5[:_DIGITS]}-{rows}{suffix}"


def parts_in(names: Iterable[str]) -> set[str]:
    """Return the names of parts."""
    return set(filter(_PART.fullmatch, names))


def rows_in(name: str) -> int:
    """Return the number of rows of a part; 0 for other names."""
    match = _PART.fullmatch(name)
    return int(match[3]) if match else 0


def is_content(name: str, part: bytes) -> bool:
    """Return whether a part has the content of its name."""
    match = _PART.fullmatch(name)
    return match is not None and WrittenBytes.of(part).md5.startswith(match[2])


def records_of_parts(book: RecordBook) -> Mapping[int, int]:
    """Return the number of valid records by key of the part."""
    columns = book.columns
    keys, counts = np.unique(columns["output"][book.live & columns["ok"]], return_counts=True)
    return dict(zip(keys.tolist(), counts.tolist(), strict=True))


class PartListing(FileListing):
    """Parts by name; rows by id, if records are missing.

    Parts are read when the first row is asked for, and only if they have rows without records.

    Parameters
    ----------
    files : mapping
        Parts, and files of others, by name.
    book : RecordBook
        Records of earlier runs.
    manifest : str
        Fingerprint of the items of this run.
    ids_in : callable
        Reads the ids of parts.
    """

    def __init__(self, files: Mapping[str, StoredFile], book: RecordBook, manifest: str, ids_in: IdsIn) -> None:
        super().__init__(files)
        self._records, self._manifest, self._ids_in = records_of_parts(book), manifest[:_DIGITS], ids_in
        self._loose: list[str] = []
        self._places: KeyTable | None = None

    def records(self, name: str) -> int:
        """Return the number of records of a part."""
        return self._records.get(key_of(name), 0)

    def part_of(self, id_: str) -> str | None:
        """Return the name of the part with a row without record."""
        if self._places is None:
            self._places = self._read()
        number = self._places.get(key_of(id_))
        return None if number < 0 else self._loose[number]

    def unrecorded(self, name: str) -> StoredFile | None:
        """Return the part of a row, even without a record.

        The time of a part of other items is unknown: it may be of a late worker.
        """
        part = self.part_of(name)
        if part is None:
            return None
        return self[part] if self._is_ours(part) else StoredFile(self[part].size, 0.0, self[part].md5)

    def _is_ours(self, part: str) -> bool:
        match = _PART.fullmatch(part)
        return match is not None and match[1] == self._manifest

    def _read(self) -> KeyTable:
        """Return the numbers of parts by keys of their rows.

        Of several, a part of the items of this run counts.
        """
        found = parts_in(self)
        loose = [name for name in sorted(found, key=self._is_ours) if self.records(name) != rows_in(name)]
        places, self._loose = KeyTable(), loose
        for number, ids in enumerate(self._ids_in(loose) if loose else ()):
            places.put(keys_of(ids), np.full(len(ids), number))
        return places
