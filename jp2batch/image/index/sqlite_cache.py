"""A bounded cache of small blobs by key, in an SQLite file.

Any number of processes may share the file. A fault (a full disk, a damaged file, a read-only folder) costs no more than
the cached blobs. Each operation opens the file and closes it, in some 70 µs: no connection outlives a thread, a fork or
the process, or keeps using a file that another process has replaced.
"""

import contextlib
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from jp2batch.core.runtime import uninterrupted_by_fork

T = TypeVar("T")

_LAYOUT = 2  # version of the schema and of the blobs: a file of another version is recreated
_PATIENCE = 0.05  # seconds to wait for other processes
_REST = 60.0  # seconds to do without the file after a fault that may pass
_TOUCHED = 3600.0  # seconds between updates of the time of last use, each of which is a write
_EVICTED = 0.1  # share of blobs to remove once the file is too large


class SqliteCache:
    """A cache of blobs by key in a file.

    Thread-safe, and safe for many processes. No method raises because of the file: an unreadable blob counts as
    missing, and a blob that cannot be written is dropped.

    Parameters
    ----------
    path : Path
        The file; it is created with the first blob.
    limit : int
        Size of the file in bytes; beyond it, the least recently used blobs are removed.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self.path, self.limit = path, limit
        self._of_no_use_until = 0.0

    def get(self, key: str) -> bytes | None:
        """Return a blob, or None if missing."""

        def look(db: sqlite3.Connection) -> bytes | None:
            row = db.execute("SELECT data, used FROM blobs WHERE key = ?", (key,)).fetchone()
            if row is None:
                return None
            data, used = row
            if time.time() - used > _TOUCHED:
                with contextlib.suppress(sqlite3.OperationalError):  # another process is writing
                    db.execute("UPDATE blobs SET used = ? WHERE key = ?", (time.time(), key))
            return data if isinstance(data, bytes) else None

        return self._tried(look, make=False)

    def update(self, key: str, change: Callable[[bytes | None], bytes | None]) -> None:
        """Replace a blob by the result of `change`, in a single transaction.

        `change` receives the present blob or None; if it returns None, the blob is removed.
        """

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

    def _tried(self, act: Callable[[sqlite3.Connection], T], *, make: bool) -> T | None:
        """Run an operation on the file; return None if missing or unusable."""
        with uninterrupted_by_fork():  # a child would inherit the mutexes of SQLite
            for last in (False, True):  # once more, if the file was damaged
                if time.monotonic() < self._of_no_use_until or not (make or self.path.exists()):
                    return None
                try:
                    if make:
                        self.path.parent.mkdir(parents=True, exist_ok=True)
                    with self._opened() as db:
                        return act(db)
                except (sqlite3.Error, OSError) as error:
                    if isinstance(error, sqlite3.OperationalError) and re.search("locked|busy", str(error)):
                        return None  # another process is writing
                    self._recover(error, last=last)
                except UnicodeEncodeError:  # no blob has such a key
                    return None
            return None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Open the file for a single operation."""
        with contextlib.closing(sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)) as db:
            _prepare(db)
            yield db

    def _recover(self, error: Exception, *, last: bool) -> None:
        """Remove a damaged file, or disable the cache for a while."""
        passing = isinstance(error, sqlite3.OperationalError | OSError) and "no such" not in str(error)
        if not passing:
            self._remove()  # the file is damaged; its content is learned again
        elif last:
            self._do_without()

    def _remove(self) -> None:
        for suffix in ("", "-journal", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                self.path.with_name(self.path.name + suffix).unlink()

    def _do_without(self) -> None:
        self._of_no_use_until = time.monotonic() + _REST


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
    """Create the table, if missing or of another layout."""
    db.execute("PRAGMA synchronous = OFF")  # a crash of the machine may damage the file; it is recreated then
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
    """Remove the least recently used blobs, until the file is small enough."""
    while (size := _size(db)) > limit:
        count = db.execute("SELECT count(*) FROM blobs").fetchone()[0]
        if not count:
            return
        least = max(1, int(count * _EVICTED), int(count * (1 - limit / size)))
        with _transaction(db):
            db.execute("DELETE FROM blobs WHERE key IN (SELECT key FROM blobs ORDER BY used LIMIT ?)", (least,))
        db.execute("PRAGMA incremental_vacuum").fetchall()


def _size(db: sqlite3.Connection) -> int:
    """Return the bytes in use in the file."""
    pages, free, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
