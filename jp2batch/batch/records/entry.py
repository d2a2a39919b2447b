"""Records as lines: written, parsed, voided."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from jp2batch.compute.result import Result
from jp2batch.compute.task import WrittenOutput

_DIGEST = re.compile("[0-9a-f]{16}")
_MD5 = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class RecordEntry:
    """Parts of a record needed to resume a batch."""

    id: str
    """Id of the item."""
    root: str | None
    """Root of its path."""
    digest: str
    """Digest of the request."""
    ok: bool
    """True if the item succeeded."""
    outside: bool
    """True if its area does not meet the image."""
    output: str
    """Name of its file or group without folders, or its id."""
    size: int | None
    """Bytes of its output; None in records of earlier versions."""
    md5: str
    """MD5 of its output in hex digits; empty if unknown."""

    @classmethod
    def parse(cls, record: dict[str, object]) -> "RecordEntry":
        """Return the entry of a record.

        A digest or checksum of another kind becomes one that nothing has.

        Raises
        ------
        TypeError, KeyError
            It is no record.
        """
        id_, digest, root, size = record["id"], str(record["digest"]), record["root"], record.get("output_size")
        if not (isinstance(id_, str) and isinstance(root, str | None)):
            raise TypeError
        md5 = str(record.get("output_checksum") or "").removeprefix("md5:")
        return cls(
            id=id_,
            root=root,
            digest=digest if _DIGEST.fullmatch(digest) else _foreign(digest)[:16],
            ok=record["status"] == "ok",
            outside=record["status"] == "outside",
            output=str(record["output"] or "").rpartition("/")[2] or id_,
            size=size if isinstance(size, int) else None,
            md5=md5 if not md5 or _MD5.fullmatch(md5) else _foreign(md5),
        )


def _foreign(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def sound(line: bytes) -> bytes:
    """Return a line without the NUL bytes of a power cut."""
    return line.rpartition(b"\0")[2]


def line_of(result: Result) -> bytes:
    """Return the record of a result as a line."""
    return orjson.dumps(result.record(), default=str, option=orjson.OPT_APPEND_NEWLINE)


def void_line(ids: Sequence[str] | None) -> bytes:
    """Return a line to void the records of ids, or all."""
    return orjson.dumps({"void": "all" if ids is None else list(ids)}, option=orjson.OPT_APPEND_NEWLINE)


def moved_line(line: bytes, written: WrittenOutput) -> bytes:
    """Return a record with another output."""
    moved = {"output": written.path, "output_size": written.size, "output_checksum": written.checksum}
    return orjson.dumps(orjson.loads(sound(line)) | moved, option=orjson.OPT_APPEND_NEWLINE)
