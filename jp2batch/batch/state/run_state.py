"""State of a run: its process, its begin, its end."""

import contextlib
import hashlib
import os
import platform
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import orjson

from jp2batch.core.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """State of the last run of an output."""

    owner: str
    """Random name of the run."""
    host: str
    """Host of its process."""
    pid: int
    """Id of its process."""
    process: str
    """Identity of its process, see `process_identity`."""
    begun: str
    """Time of its begin, by the clock of its host."""
    beat: int = 0
    """Number of renewals."""
    fingerprint: str | None = None
    """Digest of the items; None if not known."""
    overwrite: bool = False
    """True if it, or the run it continues, replaces earlier output."""
    since: float | None = None
    """Position in the output since which runs have had these items."""
    ended: str | None = None
    """End: "complete", "interrupted", or a type of error; None while running."""

    @classmethod
    def begin(cls, fingerprint: str | None, *, overwrite: bool, since: float | None) -> Self:
        """Return the state of a run beginning now in this process."""
        return cls(
            owner=secrets.token_hex(8),
            host=platform.node(),
            pid=os.getpid(),
            process=process_identity(os.getpid()),
            begun=datetime.now(UTC).isoformat(timespec="seconds"),
            fingerprint=fingerprint,
            overwrite=overwrite,
            since=since,
        )

    @classmethod
    def parse(cls, data: bytes) -> Self | None:
        """Return the state in a file; None if it is damaged."""
        with contextlib.suppress(ValueError, TypeError):
            found = orjson.loads(data)
            return cls(**{field.name: found[field.name] for field in fields(cls) if field.name in found})
        return None

    def dumps(self) -> bytes:
        """Return the content of its file."""
        return orjson.dumps(asdict(self), option=orjson.OPT_APPEND_NEWLINE)

    def is_over(self) -> bool:
        """Return whether the run has ended, or its process is gone."""
        if self.ended is not None:
            return True
        machine = self.process.rpartition(":")[0]
        is_here = bool(machine) and machine == process_identity(os.getpid()).rpartition(":")[0]
        return is_here and process_identity(self.pid) != self.process

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.begun}"


def process_identity(pid: int) -> str:
    """Return boot, namespace and start of a process; empty if gone."""
    with contextlib.suppress(OSError, IndexError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = Path("/proc/self/ns/pid").readlink()
        values = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        if values[0] not in ("Z", "X"):  # a dead process whose parent has not noticed
            return f"{boot}:{space}:{values[19]}"
    return ""


def fingerprint_of(items: Iterable[Request]) -> str:
    """Return a digest of the ids and requests of items."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(f"{item.id}\0{item.digest}\0".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]
