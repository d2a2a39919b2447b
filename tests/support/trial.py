"""A batch on a site, put to a fault, and resumed: what its user saw, and whether the result is whole."""

import contextlib
import hashlib
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jp2batch.sample.encode import Coding, encode
from support.images import PLAIN
from support.namespaces import Host, HostProcess
from support.site import IMAGES, RESULTS, Site, StoredObject, Workforce, workforce

ROWS = [
    {"Path": f"s3://{IMAGES}/{n % 4}.jp2", "rlevel": 0, "window": f"{n % 60}:{n % 60 + 20},{n // 60}:50"}
    for n in range(240)
]
THREADS = "--local-threads"
SHORT = {"DASK_JP2BATCH__DEADLINE": "5s"}
"""Settings to end a hanging decode soon."""
PAUSE = "0.15"
"""Seconds that each decode takes longer."""
BAD = ("deadly.jp2", "endless.jp2")
"""Ends of paths of images that crash or hang the decoder."""
_WAITING = re.compile(
    r"jp2batch: (waiting for (the scheduler|the store|workers)|\d+ of \d+ workers|(all workers|the store answers) )"
)
_CHATTER = ("dashboard:", "scheduler:", "ended  ", "failed  ", "first  ", "requests ", "fetched ", "time ", "retries ")


@dataclass
class Trial:
    """A run of a manifest into the store, by clients on several hosts."""

    site: Site
    name: str
    rows: Sequence[Mapping[str, object]] = field(default_factory=lambda: ROWS)
    settings: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of all clients."""
    output: str = ""
    reference: Mapping[str, StoredObject] = field(default_factory=dict)
    """Results of a run without a fault, if they are others than usual."""
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.output = self.output or f"s3://{RESULTS}/{self.name}/"

    @property
    def is_remote(self) -> bool:
        """True if the output is in the store."""
        return self.output.startswith("s3://")

    @property
    def is_in_parts(self) -> bool:
        """True if the output is a folder of parts in the store."""
        return self.is_remote and self.output.endswith((".ndjson", ".parquet"))

    def client(self, name: str = "client") -> Host:
        """Return a host for clients."""
        return self.site.hosts.host(name)

    def start(self, engine: Workforce | str, *arguments: object, on: str = "client", **settings: str) -> HostProcess:
        """Start the run, with a workforce or as a flag says."""
        flags = [engine] if isinstance(engine, str) else ["--scheduler", engine.address]
        settings = {**self.settings, **settings}
        return self.site.run(self.client(on), self.rows, "-o", self.output, *flags, *arguments, **settings)

    def listing(self) -> dict[str, StoredObject]:
        """Return the objects of the output."""
        return self.site.listing(self.name)

    def settled(self) -> dict[str, StoredObject]:
        """Return the listing once it no longer changes: workers of an ended run may still write."""
        before = None
        while (now := self.listing()) != before:
            before = now
            time.sleep(1)
        return now

    def results(self) -> dict[str, StoredObject]:
        """Return the objects of the output that are results, or its rows by id."""
        if not self.is_remote:
            return self._local_results()
        if self.is_in_parts:
            return {id_: StoredObject(size, md5, "") for id_, size, md5, _ in self.table()}
        return {name: found for name, found in self.listing().items() if name.endswith(".npy")}

    def table(self) -> list[tuple[str, int, str, str]]:
        """Return id, size, MD5 and path of each row in parts, pending or not."""
        found: list[tuple[str, int, str, str]] = self.site.ask("rows", self.output.removeprefix("s3://"))
        return found

    def _local_results(self) -> dict[str, StoredObject]:
        """Return files, or lines, of a local output of the first client."""
        place = self.client().folder / self.output
        if place.suffix == ".ndjson":
            text = place.read_text(errors="replace") if place.exists() else ""
            lines = [line for line in text.splitlines() if line.endswith("}")]
            return {json.loads(line)["id"]: StoredObject(len(line), "", "") for line in lines}
        files = {path.name: path for path in place.glob("*.npy")}
        return {
            name: StoredObject(
                path.stat().st_size, hashlib.md5(path.read_bytes()).hexdigest(), str(path.stat().st_mtime)
            )
            for name, path in files.items()
        }

    def wait_for(self, number: int, process: HostProcess, seconds: float = 120) -> int:
        """Wait until there are so many results, or the process ends; return their number."""
        end = time.monotonic() + seconds
        while (found := len(self.results())) < number and process.runs and time.monotonic() < end:
            time.sleep(0.2)
        return found

    def end(self, process: HostProcess, seconds: float = 240) -> "Seen":
        """Wait for the end of a run, or kill it after its time."""
        start = time.monotonic()
        try:
            code: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
            process.kill()
        return Seen(code, told(process.stderr), time.monotonic() - start)

    def records(self, on: Sequence[str] = ("client",)) -> dict[str, dict[str, object]]:
        """Return the newest record of each item, from the store and from clients."""
        if not self.is_remote:
            return self._parsed([path.read_text(errors="replace") for path in self._local_records()])
        names = sorted(name for name in self.listing() if "records" in name and name.endswith(".ndjson"))
        texts = [self.site.ask("read", f"{RESULTS}/{self.name}/{name}") for name in names]
        texts += [
            path.read_text()
            for host in on
            for path in self.client(host).folder.glob(f"{RESULTS}_{self.name}.records.ndjson")
        ]
        return self._parsed(texts)

    def _local_records(self) -> list[Path]:
        place = self.client().folder / self.output
        found = place / "records.ndjson" if place.is_dir() else place.with_name(f"{place.name}.records.ndjson")
        return [found] if found.exists() else []

    def _parsed(self, texts: Sequence[str]) -> dict[str, dict[str, object]]:
        found = dict[str, dict[str, object]]()
        for line in (line for text in texts for line in text.splitlines()):
            with contextlib.suppress(ValueError):  # damaged
                record = json.loads(line)
                if "id" in record:
                    found[record["id"]] = record
        return found

    def wrong(self, reference: Mapping[str, StoredObject], on: Sequence[str] = ("client",)) -> str:
        """Return differences from the results of a run without a fault; "" if whole."""
        found, paths = self.results(), {row["Path"] for row in self.rows}
        statuses = [record["status"] for record in self.records(on).values() if record["Path"] in paths]
        failed = sum(str(row["Path"]).endswith(BAD) for row in self.rows)
        good, problems = len(self.rows) - failed, []
        reference = self.reference or reference
        if self.is_in_parts:
            problems += self._wrong_parts()
        if other := [name for name in found if name in reference and found[name].etag != reference[name].etag]:
            problems.append(f"{len(other)} results have other contents")
        if len(found) != good:
            problems.append(f"{len(found)} of {good} results")
        if (statuses.count("ok"), statuses.count("failed")) != (good, failed):
            problems.append(f"records: {statuses.count('ok')} ok, {statuses.count('failed')} failed")
        return "; ".join(problems)

    def _wrong_parts(self) -> list[str]:
        """Return how the parts differ from a row for each item, in the part of its record."""
        rows = self.table()
        parts = {id_: f"s3://{path}" for id_, _, _, path in rows}
        outputs = {record["id"]: record["output"] for record in self.records().values()}
        problems = [f"{len(rows) - len(parts)} rows twice"] if len(rows) != len(parts) else []
        if pending := sum(".pending/" in path for path in parts.values()):
            problems.append(f"{pending} rows pending")
        return problems + (["rows are not in the parts of their records"] if parts != outputs else [])


@dataclass
class Seen:
    """How a run ended for its user."""

    code: int | None
    """Exit code; None if it had to be killed."""
    lines: list[str]
    """Lines on stderr, besides summary and address of the dashboard."""
    seconds: float
    """Seconds until the end, from the last fault on."""

    def problems(self, given: "Fault") -> list[str]:
        """Return differences from how the run may end."""
        text = "\n".join(self.lines)
        found = [] if self.code in given.codes else [f"exit {self.code}, not {given.codes}"]
        found += ["a traceback"] if "Traceback" in text else []
        return found + ([f"{len(self.lines)} lines"] if len(self.lines) > given.lines else [])

    def __str__(self) -> str:
        shown = (
            self.lines
            if len(self.lines) <= 4
            else [*self.lines[:2], f"… {len(self.lines) - 4} more …", *self.lines[-2:]]
        )
        text = " ⏎ ".join(line[:230] for line in shown) or "(nothing)"
        return f"exit {'never' if self.code is None else self.code} after {self.seconds:.0f} s: {text}"


def told(text: str) -> list[str]:
    """Return lines on stderr besides the usual."""
    lines = [part.rstrip() for line in text.splitlines() for part in line.split("\r")]
    return [line for line in lines if line.strip() and not line.startswith(_CHATTER) and not _WAITING.match(line)]


def fill(folder: Path) -> Path:
    """Write images: ordinary ones, one to crash the decoder, one to hang it."""
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.jp2").write_bytes(PLAIN.data)
    for name, rows in (("deadly", 61), ("endless", 62)):
        (folder / f"{name}.jp2").write_bytes(encode(np.ones((1, rows, rows), np.int32), Coding(tile=None)))
    return folder


def reference_of(place: Site, rows: Sequence[Mapping[str, object]] = ROWS) -> Mapping[str, StoredObject]:
    """Return the results of a run without a fault."""
    trial = Trial(place, f"reference-{len(rows)}", rows)
    seen = trial.end(trial.start(THREADS, on="reference"))
    assert seen.code == 0, seen
    assert len(trial.results()) == len(rows)
    return trial.results()


@dataclass(frozen=True)
class Fault:
    """A fault, and how a run with it may end."""

    act: Callable[[Trial], Seen]
    codes: tuple[int, ...]
    lines: int
    """Most lines that the user sees besides the usual."""


FAULTS: dict[str, Fault] = {}
"""Faults by their titles."""


def fault(title: str, *codes: int, lines: int = 1) -> Callable[[Callable[[Trial], Seen]], Callable[[Trial], Seen]]:
    """Enter a function into the table of faults."""

    def enter(act: Callable[[Trial], Seen]) -> Callable[[Trial], Seen]:
        FAULTS[title] = Fault(act, codes, lines)
        return act

    return enter


@dataclass
class Outcome:
    """A run with a fault, and its resume."""

    seen: Seen
    again: Seen
    kept: str
    problems: list[str]


def put_to(title: str, trial: Trial, reference: Mapping[str, StoredObject]) -> Outcome:
    """Do a fault to a run; resume it on another host, if its output is in the store."""
    given = FAULTS[title]
    seen = given.act(trial)
    problems = seen.problems(given)
    if seen.code == 0 and (wrong := trial.wrong(reference)):
        problems.append(f"exit 0, but {wrong}")
    before, reads, here = trial.results(), trial.site.reads(), "elsewhere" if trial.is_remote else "client"
    failing = any(str(row["Path"]).endswith(BAD) for row in trial.rows)
    again = trial.end(trial.start("--workers=2" if failing else THREADS, "--resume", on=here, **SHORT))
    after = trial.results()
    problems += [f"resumed: {text}" for text in again.problems(Fault(given.act, (int(failing),), 1))]
    if wrong := trial.wrong(reference, ("client", here)):
        problems.append(f"resumed: {wrong}")
    kept = sum(after.get(name) == found for name, found in before.items())
    if kept < len(before):
        problems.append(f"resumed: {len(before) - kept} results written anew")
    return Outcome(seen, again, f"kept {kept}, {trial.site.reads() - reads} GETs of images", problems + trial.problems)


@contextlib.contextmanager
def under_way(trial: Trial, *arguments: object) -> Iterator[tuple[Workforce, HostProcess]]:
    """Start a run with a workforce, and wait for 30 results."""
    with workforce(trial.site, PAUSE=PAUSE) as force:
        process = trial.start(force, *arguments)
        trial.wait_for(30, process)
        yield force, process
