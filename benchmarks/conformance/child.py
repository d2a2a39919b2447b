"""Reads in processes of their own: a crash or a hang costs a single view."""

import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks import ROOT
from benchmarks.conformance.peers import PEERS, NotOffered, Planes
from jp2batch.core.window import Window

Fate = Literal["read", "refused", "crashed", "hung", "not offered", "not installed"]
DEADLINE = 40.0
"""Seconds for a read, its imports included."""
COMMAND = [sys.executable, "-c", "from benchmarks.conformance.child import main; main()"]
"""Command of a process that reads."""


@dataclass(frozen=True, slots=True)
class View:
    """A part of an image to read."""

    name: str
    rlevel: int
    window: Window | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reader did with a view."""

    fate: Fate
    planes: Planes = ()
    words: str = ""
    """Its error, in a line."""


def outcomes(reader: str, path: str, views: Sequence[View], deadline: float = DEADLINE) -> list[Outcome]:
    """Read views of a file; if the process dies, the others are read in another process."""
    peer = PEERS[reader]
    if not peer.version:
        return [Outcome("not installed")] * len(views)
    offered = [view for view in views if view.name in peer.offers]
    found: list[Outcome] = []
    while len(found) < len(offered):
        some, end = _in_process(reader, path, offered[len(found) :], deadline)
        found += some if len(found) + len(some) == len(offered) else [*some, end]
    by_name = {view.name: outcome for view, outcome in zip(offered, found, strict=True)}
    return [by_name.get(view.name, Outcome("not offered")) for view in views]


def _in_process(reader: str, path: str, views: Sequence[View], deadline: float) -> tuple[list[Outcome], Outcome]:
    """Return the outcomes of the views before the process ended, and how it ended."""
    with tempfile.TemporaryDirectory(prefix="jp2batch-") as cache:
        environment = os.environ | {"XDG_CACHE_HOME": cache, "PYTHONWARNINGS": "ignore"}
        try:
            done = subprocess.run(
                COMMAND,
                cwd=ROOT,
                env=environment,
                input=pickle.dumps((reader, path, views)),
                capture_output=True,
                check=False,
                timeout=deadline * len(views),
            )
        except subprocess.TimeoutExpired as late:
            return [*_parsed(late.stdout or b"")], Outcome("hung", words=f"after {deadline:.0f} s")
        end = signal.Signals(-done.returncode).name if done.returncode < 0 else f"exit status {done.returncode}"
        return [*_parsed(done.stdout)], Outcome("crashed", words=end)


def _parsed(data: bytes) -> Iterator[Outcome]:
    position = 0
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 8])
        if len(data) < position + 8 + length:
            return
        yield pickle.loads(data[position + 8 : position + 8 + length])  # noqa: S301  # our own child
        position += 8 + length


def main() -> None:
    """Read the views named on stdin; write their outcomes to stdout."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not mix with the outcomes
    reader, path, views = pickle.load(sys.stdin.buffer)  # noqa: S301  # from our own parent
    warnings.simplefilter("ignore")
    read = PEERS[reader].make()
    for view in views:
        outcome = pickle.dumps(_outcome(read, path, view))
        output.write(len(outcome).to_bytes(8) + outcome)
        output.flush()
    output.close()
    os._exit(0)  # a crash at exit is no crash of a read


def _outcome(read: Any, path: str, view: View) -> Outcome:
    try:
        return Outcome("read", read(path, view.rlevel, view.window))
    except NotOffered as error:
        return Outcome("not offered", words=str(error))
    except BaseException as error:  # noqa: BLE001  # whatever it raises, it has refused
        return Outcome("refused", words=_words(error))


def _words(error: BaseException) -> str:
    """Return the type and the message of an error, or of its cause, without the path."""
    text = " ".join(str(error.__cause__ or error).split())
    text = re.sub(r"['\"]?\S*/\S*\.(jp2|j2k)\b['\"]?", "the file", text).removeprefix("the file: ")
    text = f"{type(error).__name__}: {text}"
    return text if len(text) <= 160 else f"{text[:159]}…"
