"""A file of small blobs by key, that any number of processes share: bounded, and nothing is lost with it.

SQLite does the work. Whatever goes wrong with it (a full disk, a damaged file, a folder that cannot be written) costs
no more than what was kept.
"""

import contextlib
import os
import re
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_LAYOUT = 2  # raised with each change of what is kept: older files are made anew
_PATIENCE = 0.05  # seconds to wait for other processes
_REST = 60.0  # seconds to do without the file after a fault that may pass
_TOUCHED = 3600.0  # seconds for which the time of the last use may be wrong: each change of it is written
_EVICTED = 0.1  # of all blobs, once there are too many bytes


class BlobFile:
    """Blobs by key in a file.

    Thread-safe, and safe for many processes. No method raises for the file's sake: what cannot be read is not there,
    what cannot be written is forgotten.

    Parameters
    ----------
    path : Path
        The file; it is made with the first blob.
    limit : int
        Bytes that it may take; those that were not used for longest give way.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self.path, self.limit = path, limit
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._of_no_use_until = 0.0
        _files.add(self)

    def get(self, key: str) -> bytes | None:
        """Return a blob, or None where there is none."""

        def look(db: sqlite3.Connection) -> bytes | None:
            row = db.execute("SELECT data, used FROM blobs WHERE key = ?", (key,)).fetchone()
            if row is None:
                return None
            data, used = row
            if time.time() - used > _TOUCHED:
                with contextlib.suppress(sqlite3.OperationalError):  # others write
                    db.execute("UPDATE blobs SET used = ? WHERE key = ?", (time.time(), key))
            return data if isinstance(data, bytes) else None

        return self._tried(look, make=False)

    def update(self, key: str, change: Callable[[bytes | None], bytes | None]) -> None:
        """Replace a blob by what `change` makes of it, in one transaction; None: remove it."""

        def replace(db: sqlite3.Connection) -> None:
            with _transaction(db):
                row = db.execute("SELECT data FROM blobs WHERE key = ?", (key,)).fetchone()
                old = row[0] if row and isinstance(row[0], bytes) else None
                new = change(old)
                if new is None:
                    db.execute("DELETE FROM blobs WHERE key = ?", (key,))
                elif new != old:
                    db.execute("REPLACE INTO blobs (key, data, used) VALUES (?, ?, ?)", (key, new, time.time()))
            _shrink(db, self.limit)

        self._tried(replace, make=True)

    def __len__(self) -> int:
        count: int | None = self._tried(lambda db: db.execute("SELECT count(*) FROM blobs").fetchone()[0], make=False)
        return count or 0

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        with self._lock:
            self._close()

    def _tried(self, act: Callable[[sqlite3.Connection], T], *, make: bool) -> T | None:
        """Do something with the file; None where there is none, or it is of no use."""
        with self._lock:
            for last in (False, True):  # again, where it was damaged, or is another file now
                try:
                    db = self._connect(make=make)
                    return None if db is None else act(db)
                except (sqlite3.Error, OSError) as error:
                    if isinstance(error, sqlite3.OperationalError) and re.search("locked|busy", str(error)):
                        return None  # others write
                    self._end(error, last=last)
                except UnicodeEncodeError:  # such a key is none
                    return None
            return None

    def _connect(self, *, make: bool) -> sqlite3.Connection | None:
        if time.monotonic() < self._of_no_use_until:
            return None
        if self._connection is None and (make or self.path.exists()):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=16
            )
            try:
                _prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _end(self, error: Exception, *, last: bool) -> None:
        """Go on after a fault: anew, or for a while without the file."""
        self._close()
        passing = isinstance(error, sqlite3.OperationalError | OSError) and "no such" not in str(error)
        if not passing:
            self._remove()  # it is damaged; what was in it is learned again
        elif last:
            self._do_without()

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def _remove(self) -> None:
        for suffix in ("", "-journal", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                self.path.with_name(self.path.name + suffix).unlink()

    def _do_without(self) -> None:
        self._of_no_use_until = time.monotonic() + _REST

    def after_fork(self) -> None:
        """Begin anew in a child process: a lock may be held by a thread that it does not have."""
        self._lock = threading.Lock()
        if self._connection is not None:
            _inherited.append(self._connection)
            self._connection = None


_files: "weakref.WeakSet[BlobFile]" = weakref.WeakSet()
_inherited: list[sqlite3.Connection] = []  # never closed: that would undo what the parent is writing


def _after_fork() -> None:
    for file in _files:
        file.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _prepare(db: sqlite3.Connection) -> None:
    """Make the table where it is missing, or of another layout."""
    db.execute("PRAGMA synchronous = OFF")  # a crash of the machine may damage it; it is made anew then
    if db.execute("PRAGMA user_version").fetchone()[0] != _LAYOUT:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("PRAGMA journal_mode = TRUNCATE").fetchone()  # WAL is for one machine; homes are shared by many
    if db.execute("PRAGMA user_version").fetchone()[0] == _LAYOUT:
        return
    with _transaction(db):
        if db.execute("PRAGMA user_version").fetchone()[0] != _LAYOUT:  # no other process was quicker
            db.execute("DROP TABLE IF EXISTS blobs")
            db.execute("CREATE TABLE blobs (key TEXT PRIMARY KEY, data BLOB NOT NULL, used REAL NOT NULL)")
            db.execute("CREATE INDEX blobs_used ON blobs (used)")
            db.execute(f"PRAGMA user_version = {_LAYOUT}")


def _shrink(db: sqlite3.Connection, limit: int) -> None:
    """Remove what was not used for longest, until the file is small enough."""
    while (size := _size(db)) > limit:
        count = db.execute("SELECT count(*) FROM blobs").fetchone()[0]
        if not count:
            return
        least = max(1, int(count * _EVICTED), int(count * (1 - limit / size)))
        with _transaction(db):
            db.execute("DELETE FROM blobs WHERE key IN (SELECT key FROM blobs ORDER BY used LIMIT ?)", (least,))
        db.execute("PRAGMA incremental_vacuum").fetchall()


def _size(db: sqlite3.Connection) -> int:
    """Return the bytes that the blobs and all around them take."""
    pages, free, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
