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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_LAYOUT = 1  # raised with each change of what is kept: older files are made anew
_PATIENCE = 0.05  # seconds to wait for other processes
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
        self._process = 0
        self._broken = False

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
            if self._process != os.getpid():  # a connection does not survive a fork
                self._connection, self._process = None, os.getpid()
            for _ in range(2):  # again, where it was damaged
                try:
                    db = self._connect(make=make)
                    return None if db is None else act(db)
                except (sqlite3.Error, OSError) as error:
                    if isinstance(error, sqlite3.OperationalError) and re.search("locked|busy", str(error)):
                        return None  # others write
                    self._end(error)
            return None

    def _connect(self, *, make: bool) -> sqlite3.Connection | None:
        if self._connection is None and not self._broken and (make or self.path.exists()):
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

    def _end(self, error: Exception) -> None:
        """Go on after a fault: the next time anew, or in this process without the file."""
        self._close()
        if isinstance(error, OSError) or (isinstance(error, sqlite3.OperationalError) and "no such" not in str(error)):
            self._broken = True
        else:
            self._remove()  # it is damaged; what was in it is learned again

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                self.path.with_name(self.path.name + suffix).unlink()
        self._broken = self.path.exists()


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
    if db.execute("PRAGMA user_version").fetchone()[0] == _LAYOUT:
        db.execute("PRAGMA synchronous = OFF")
        return
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("PRAGMA journal_mode = WAL").fetchone()
    db.execute("PRAGMA synchronous = OFF")  # a crash of the machine may damage it; it is made anew then
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
