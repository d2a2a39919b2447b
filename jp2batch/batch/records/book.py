"""Newest records of all items, in columns: some 100 bytes a line."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, islice
from typing import Self

import numpy as np
import orjson
from numpy.typing import NDArray

from jp2batch.batch.key_table import GrowingArray, Keys, KeyTable, key_of, keys_of
from jp2batch.batch.records.entry import RecordEntry, sound

Rows = NDArray[np.int64]
"""Numbers of lines, from 0; -1 for none."""

_TOGETHER = 4096  # lines
_MOST_ENDINGS = 255
_ENDING = re.compile(r"\.\w{1,8}")
_TEXT = r"[ !#-\[\]-~]*"  # plain ASCII, in quotes
_VALUE = rf'(?:"{_TEXT}"|[\w.+-]+)'
# A record of a success as this package writes it, with nothing but numbers and texts in further columns of its row.
_USUAL = re.compile(
    rf'^\{{(?:(?!"id":)"{_TEXT}":{_VALUE},)*"id":"({_TEXT})","Path":"{_TEXT}","root":(null|"{_TEXT}"),'
    rf'"rlevel":-?\d+,"window":[\[\]\w,]+,(?:"bbox":"{_TEXT}",)?(?:"geometry":"{_TEXT}",)?(?:"crs":"{_TEXT}",)?'
    rf'(?:"resolution":[\d.e+-]+,)?"digest":"([0-9a-f]{{16}})","status":"ok","error":null,'
    rf'"attempts":[ !-z|~]*,"output":(?:null|"(?:{_TEXT}/)?({_TEXT})"),"output_size":(?:null|(\d+)),'
    rf'"output_checksum":(?:null|"md5:([0-9a-f]{{32}})"),"adopted":\w+,"same_as":(?:null|"{_TEXT}")\}}\n'.encode(),
    re.MULTILINE,
)

UNKNOWN = "0" * 32
"""Stands for an unknown MD5."""
_NO = UNKNOWN.encode()


class RecordBook:
    """Newest records of all items, and the outputs of replaced records."""

    def __init__(self) -> None:
        self.lines = 0
        """Number of lines, damaged and void lines included."""
        self.damaged = 0
        """Number of damaged lines."""
        self.roots: set[str | None] = set()
        """Roots of the paths."""
        self._endings = {"": 0}
        self._columns = GrowingArray(
            [
                *(("id", np.int64), ("digest", np.int64), ("output", np.int64)),
                ("folded", np.int64),  # its output in lower case
                *(("size", np.int64), ("md5", "V16"), ("ending", np.uint8)),
                *(("ok", np.bool_), ("outside", np.bool_), ("live", np.bool_)),
            ]
        )
        self._ids, self._void = KeyTable(), KeyTable()

    @classmethod
    def of(cls, lines: Iterable[bytes]) -> Self:
        """Return the records of the lines of a log."""
        book, left = cls(), iter(lines)
        while some := list(islice(left, _TOGETHER)):
            book.add(some)
        return book

    @property
    def columns(self) -> NDArray[np.void]:
        """Columns of all lines; meaningful for live lines only."""
        return self._columns.rows

    @property
    def endings(self) -> list[str]:
        """Suffixes of outputs, by number."""
        return list(self._endings)

    @property
    def live(self) -> NDArray[np.bool_]:
        """True for the lines of valid records."""
        live: NDArray[np.bool_] = self.columns["live"]
        return live

    def __len__(self) -> int:
        return int(np.count_nonzero(self.live))

    def __contains__(self, id_: str) -> bool:
        return self.row(id_) >= 0

    def find(self, ids: Keys) -> Rows:
        """Return the rows of the newest records of ids."""
        rows = self._ids.find(ids)
        if rows.size and self.lines:
            rows[(rows >= 0) & ~self.live[rows]] = -1
        return rows

    def row(self, id_: str) -> int:
        """Return the row of the newest record of an id, else -1."""
        row = self._ids.get(key_of(id_))
        return row if row >= 0 and self.live[row] else -1

    def has_ok(self, id_: str) -> bool:
        """Return whether the newest record of an id is of a success."""
        row = self.row(id_)
        return row >= 0 and bool(self.columns["ok"][row])

    def is_void(self, output: str) -> bool:
        """Return whether a record of an output was made void."""
        return self._void.get(key_of(output)) >= 0

    def forget(self, rows: Rows) -> None:
        """Leave out records void from now on."""
        self.live[rows] = False
        self._void.put(self.columns["output"][rows], rows)

    def add(self, lines: Sequence[bytes]) -> None:
        """Add lines; a damaged line counts, and is otherwise ignored."""
        self._columns.extend(len(lines))
        usual = _USUAL.findall(b"".join(lines))
        if len(usual) == len(lines):
            self.lines += len(lines)
            self._enter(self.lines - len(lines), range(self.lines - len(lines), self.lines), usual)
            return
        begin, rows, usual = self.lines, list[int](), []
        for line in lines:
            match = _USUAL.fullmatch(line)
            if match is not None:
                rows.append(self.lines)
                usual.append(match.groups(b""))
            elif (void := self._add_unusual(line)) is not None:
                self._enter(begin, rows, usual)
                begin, rows, usual = self.lines, [], []
                self._make_void(void)
            self.lines += 1
        self._enter(begin, rows, usual)

    def _add_unusual(self, line: bytes) -> object:
        """Add a line of any kind; return the ids it makes void."""
        try:
            record = orjson.loads(sound(line))
            void: object = record.get("void")
            if void is None:
                self.columns[self.lines] = self._cells(RecordEntry.parse(record))
                self.roots.add(record["root"])
        except (ValueError, TypeError, KeyError, AttributeError):
            self.damaged += 1
            return None
        self.damaged += b"\0" in line
        return void

    def _cells(self, entry: RecordEntry) -> tuple[object, ...]:
        """Return the columns of a record."""
        size = -1 if entry.size is None else entry.size
        keys = keys_of([entry.id, entry.digest, entry.output, entry.output.lower()])
        md5, ending = bytes.fromhex(entry.md5 or UNKNOWN), self._ending_of(entry.output)
        return (*keys, size, md5, ending, entry.ok, entry.outside, True)

    def _enter(self, begin: int, rows: Sequence[int], usual: Sequence[tuple[bytes, ...]]) -> None:
        """Enter usual records; index all lines from `begin` by id."""
        if rows:
            self._fill(np.array(rows), usual)
        live = self.live
        new = begin + np.flatnonzero(live[begin : self.lines])
        ids = self.columns["id"][new]
        old = self._ids.find(ids)
        live[old[old >= 0]] = False
        self._ids.put(ids, new)
        live[new] = self._ids.find(ids) == new

    def _fill(self, rows: Rows, usual: Sequence[tuple[bytes, ...]]) -> None:
        """Set the columns of usual records."""
        columns = self.columns
        ids, roots, digests, outputs, sizes, md5s = zip(*usual, strict=True)
        place = slice(rows[0], rows[-1] + 1) if rows[-1] - rows[0] + 1 == len(rows) else rows
        names = [output or id_ for output, id_ in zip(outputs, ids, strict=True)] if any(outputs) else ids
        columns["id"][place] = keys = _hashes(ids)
        columns["output"][place] = keys if names is ids else _hashes(names)
        columns["folded"][place] = _hashes(map(bytes.lower, names))
        columns["digest"][place] = _hashes(digests)
        columns["size"][place] = np.fromiter([int(size or -1) for size in sizes], np.int64, len(rows))
        columns["md5"][place] = np.frombuffer(bytes.fromhex(b"".join([m or _NO for m in md5s]).decode()), "V16")
        columns["ok"][place] = columns["live"][place] = True
        if any(b"." in name for name in names):
            columns["ending"][place] = [self._ending_of(name.decode()) for name in names]
        self.roots.update(orjson.loads(root) for root in set(roots))

    def _ending_of(self, name: str) -> int:
        """Return the number of a suffix; 0 if long or rare."""
        match = _ENDING.fullmatch(name, max(0, name.rfind(".")))
        ending = match[0] if match else ""
        if ending not in self._endings and len(self._endings) <= _MOST_ENDINGS:
            self._endings[ending] = len(self._endings)
        return self._endings.get(ending, 0)

    def _make_void(self, ids: object) -> None:
        """Void the records of some ids, or of all ids."""
        if ids == "all":
            self.forget(np.flatnonzero(self.live))
        elif isinstance(ids, list):
            rows = self.find(keys_of(id_ for id_ in ids if isinstance(id_, str)))
            self.forget(rows[rows >= 0])


def live_entries(lines: Iterable[bytes], live: NDArray[np.bool_]) -> Iterator[tuple[int, RecordEntry]]:
    """Iterate over (row, entry) of live lines of a log.

    The log may have grown.
    """
    for row, line in compress(enumerate(lines), live.tolist()):
        yield row, RecordEntry.parse(orjson.loads(sound(line)))


def starts_records(first: bytes) -> bool:
    """Return whether a line can be the first of a log."""
    if not first.strip(b"\0\n") or (not first.endswith(b"\n") and first.startswith(b"{")):
        return True
    return len(RecordBook.of([first])) > 0 or first.startswith(b'{"void":')


def _hashes(texts: Iterable[bytes]) -> Keys:
    return np.fromiter(map(hash, texts), np.int64)
