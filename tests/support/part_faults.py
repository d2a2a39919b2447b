"""Faults of runs whose workers write parts into the store: kills of clients and workers, late workers."""

import random
import signal
import time
from collections.abc import Callable

from support.site import IMAGES, RESULTS, workforce
from support.trial import PAUSE, Seen, Trial, fault

SOON = {"LEASE": "3"}
"""Settings to let a lease expire soon."""
FIRST_READS = 12
"""GETs besides one for each item: each of three workers meets each of four images."""
ROWS = [
    {"Path": f"s3://{IMAGES}/{n % 4}.jp2", "rlevel": 0, "window": f"{n % 60}:{n % 60 + 20},{n // 60}:50"}
    | ({"id": f"row/{n}"} if n % 2 else {})
    for n in range(600)
]
TABLES = ("results.ndjson", "results.parquet")


def put_into(trial: Trial, table: str) -> None:
    """Let a trial write a table, half of its rows with ids of their own; run it once without a fault."""
    trial.rows = ROWS
    trial.settings = SOON
    trial.output = f"s3://{RESULTS}/{trial.name}/reference/{table}"
    before = trial.site.reads()
    with workforce(trial.site) as force:
        seen = trial.end(trial.start(force, on="reference"))
    assert seen.code == 0, seen
    trial.reference = trial.results()
    assert len(trial.reference) == len(ROWS), len(trial.reference)
    trial.notes.append(f"{trial.site.reads() - before} GETs of images without a fault")
    trial.output = f"s3://{RESULTS}/{trial.name}/{table}"


def still(trial: Trial) -> int:
    """Wait until workers of an ended run write and read no more; return the number of whole rows."""
    before = (-1, -1)
    while (now := (len(trial.results()), trial.site.reads())) != before:
        before = now
        time.sleep(3)
    return now[0]


def killed_often(trial: Trial) -> Seen:
    """Kill the client again and again; compare the reads with the rows they brought."""
    chance = random.Random(trial.output.rpartition("/")[2])
    with workforce(trial.site, PAUSE="0.3") as force:
        whole, first, turns = 0, trial.site.reads(), list[int]()
        for turn in range(20):
            process = trial.start(force, "--resume", on=f"client{turn % 3}")
            trial.wait_for(whole + chance.randrange(7), process)
            time.sleep(chance.random())
            process.send(signal.SIGKILL)
            process.wait()
            for old in trial.client(f"client{(turn + 1) % 3}").folder.glob("*records*"):
                old.unlink()
            before, whole = whole, still(trial)
            turns.append(whole)
            if whole < before:
                trial.problems.append(f"{before - whole} whole rows are gone")
        reads = trial.site.reads() - first
        trial.notes.append(f"whole rows after each kill: {turns}; {reads} GETs of images until then")
        seen = trial.end(trial.start(force, "--resume", on="client2"))
    if (reads := trial.site.reads() - first) > len(ROWS) + FIRST_READS:
        trial.problems.append(f"{reads} GETs of images for {len(ROWS)} items")
    return seen


def workers_killed(trial: Trial) -> Seen:
    """Kill a worker at ten random moments; it is started again."""
    chance = random.Random(5)
    with workforce(trial.site, PAUSE=PAUSE) as force:
        process = trial.start(force)
        trial.wait_for(3, process)
        for turn in range(10):
            time.sleep(chance.uniform(0.2, 1.5))
            for one in force.workers[force.names[turn % 3]].family:
                if "spawn_main" in " ".join(one.cmdline()):  # of the nanny
                    one.kill()
        return trial.end(process)


def worker_late(trial: Trial) -> Seen:
    """Freeze a worker while it reads, kill the client, resume on another host, and let the worker go on."""
    with workforce(trial.site, PAUSE=PAUSE) as force:
        first = trial.start(force)
        trial.wait_for(30, first)
        with force.frozen("w2"):
            first.send(signal.SIGKILL)
            first.wait()
            second = trial.start(force, "--resume", on="other")
            trial.wait_for(60, second)
            time.sleep(30)
        return trial.end(second)


def enter(table: str, title: str, act: Callable[[Trial], Seen]) -> None:
    """Enter a fault of a table."""

    @fault(f"parts of {table}: {title}", 0)
    def _put_to(trial: Trial) -> Seen:
        put_into(trial, table)
        return act(trial)


for name in TABLES:
    enter(name, "client killed at 20 random moments, resumed elsewhere each time", killed_often)
    enter(name, "workers killed (SIGKILL) at ten random moments", workers_killed)
    enter(name, "a worker frozen (SIGSTOP) beyond the end of its run and its lease, and resumed elsewhere", worker_late)
