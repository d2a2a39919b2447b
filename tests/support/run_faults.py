"""Faults of a run's own host: kills, full disks, damaged files, a second run, wrong arguments."""

import random
import signal
import time
from dataclasses import replace

from support.namespaces import Host
from support.site import Workforce, workforce
from support.trial import PAUSE, ROWS, THREADS, Seen, Trial, fault, under_way


def killed(trial: Trial, force: Workforce, number: int = 30, on: str = "client") -> None:
    """Run, and kill the client after some results."""
    process = trial.start(force, "--resume", on=on)
    trial.wait_for(number, process)
    process.send(signal.SIGKILL)
    process.wait()


@fault("client killed at 20 random moments, resumed elsewhere each time", 0)
def killed_often(trial: Trial) -> Seen:
    """Kill the client again and again; count results that were written anew."""
    chance, redone = random.Random(7), 0
    with workforce(trial.site, PAUSE=PAUSE) as force:
        for turn in range(20):
            present = trial.results()
            process = trial.start(force, "--resume", on=f"client{turn % 3}")
            trial.wait_for(len(present) + chance.randrange(12), process)
            time.sleep(chance.random())
            process.send(signal.SIGKILL)
            process.wait()
            left = trial.results()
            redone += sum(left.get(name) != found for name, found in present.items())
            for old in trial.client(f"client{(turn + 1) % 3}").folder.glob("*records*"):
                old.unlink()
        if redone:
            trial.problems.append(f"{redone} whole results written anew")
        return trial.end(trial.start(force, "--resume", on="client2"))


def second(trial: Trial, flag: str) -> Seen:
    """Start another run at the output of a run."""
    with under_way(trial) as (_, first):
        seen = trial.end(trial.start(THREADS, flag, on="other"))
        trial.notes.append(f"the first: {trial.end(first)}")
    return seen


@fault("two runs at an output: the second", 3, lines=2)
def second_run(trial: Trial) -> Seen:
    """Start another run at the output of the first."""
    return second(trial, "--resume")


@fault("two runs at an output, the second with --overwrite", 3, lines=2)
def second_run_overwrites(trial: Trial) -> Seen:
    """Start another run that would replace the output of the first."""
    return second(trial, "--overwrite")


@fault("holder of an output killed: the next run", 0)
def holder_killed(trial: Trial) -> Seen:
    """Kill a run, and start the next on another host at once."""
    with workforce(trial.site, PAUSE=PAUSE) as force:
        killed(trial, force)
        return trial.end(trial.start(force, "--resume", on="other"))


@fault("holder of an output frozen for 90 s, and taken over: the holder", 1)
def holder_frozen(trial: Trial) -> Seen:
    """Stop a run, start the next on another host, and let the first go on."""
    with under_way(trial) as (force, first):
        with first.frozen():
            second = trial.start(force, "--resume", on="other")
            time.sleep(90)
        seen = trial.end(first)
        trial.notes.append(f"the second: {trial.end(second)}")
    return seen


@fault("client told to stop (SIGTERM)", 130)
def terminated(trial: Trial) -> Seen:
    """Stop the client as a service manager does."""
    with under_way(trial) as (_, process):
        process.send(signal.SIGTERM)
        return trial.end(process)


@fault("Ctrl-C while the scheduler is cut off", 130)
def interrupted_while_cut(trial: Trial) -> Seen:
    """Interrupt a run that waits for its cluster."""
    with under_way(trial) as (_, process):
        trial.site.hosts.host("scheduler").cut()
        time.sleep(15)
        process.send(signal.SIGINT)
        try:
            return trial.end(process, 120)
        finally:
            trial.site.hosts.host("scheduler").restore()


# Nothing may change


def unchanged(trial: Trial, *arguments: object, rows: list[dict[str, object]] | None = None) -> Seen:
    """Kill a run; resume it wrongly; note each object changed by that."""
    with workforce(trial.site, PAUSE=PAUSE) as force:
        killed(trial, force)
    before = trial.settled()
    wrong = trial if rows is None else replace(trial, rows=rows)
    seen = trial.end(trial.site.run(trial.client("other"), wrong.rows, "-o", trial.output, "--resume", *arguments))
    after = trial.listing()
    names = before.keys() | after.keys() if rows is None or seen.code != 1 else trial.results()
    changed = sorted(name for name in names if before.get(name) != after.get(name))
    if changed:
        trial.problems.append(f"{len(changed)} of {len(before)} objects changed: {changed[:4]}")
    return seen


@fault("resume: the scheduler cannot be reached", 3)
def unreachable(trial: Trial) -> Seen:
    """Resume with an address where no scheduler is."""
    return unchanged(trial, "--scheduler", f"tcp://{trial.site.hosts.host('scheduler').address}:8786")


@fault("resume: the scheduler's host is down", 3)
def host_down(trial: Trial) -> Seen:
    """Resume with the address of a host that does not exist."""
    return unchanged(trial, "--scheduler", "tcp://192.0.2.200:8786")


@fault("resume: a damaged manifest", 2)
def damaged_manifest(trial: Trial) -> Seen:
    """Resume with a manifest that has a bad row."""
    return unchanged(trial, THREADS, rows=[*ROWS[:50], {"Pth": "x"}, *ROWS[50:]])


@fault("resume: another manifest", 1)
def another_manifest(trial: Trial) -> Seen:
    """Resume with a manifest of other items, which do not exist."""
    return unchanged(trial, THREADS, rows=[{"Path": "s3://images/none.jp2", "rlevel": 0}])


@fault("resume: another root", 2)
def another_root(trial: Trial) -> Seen:
    """Resume with a root that the records do not have."""
    rows = [{**row, "Path": str(row["Path"]).removeprefix("s3://images/")} for row in ROWS]
    return unchanged(trial, THREADS, "--root", "s3://elsewhere/", rows=rows)


# Damage


def damage_records(text: str) -> str:
    """Return records with NUL bytes, a cut line in the middle, and a cut end."""
    lines = text.splitlines()
    middle = len(lines) // 2
    lines[middle : middle + 2] = [
        lines[middle][:40] + "\0" * 4096,
        *(line[:60] for line in lines[middle + 1 : middle + 2]),
    ]
    return "\n".join(lines)[:-30]


@fault("records with NUL bytes and cut lines", 0)
def damaged_records(trial: Trial) -> Seen:
    """Damage the records in the store and on the client, then resume."""
    with workforce(trial.site, PAUSE=PAUSE) as force:
        process = trial.start(force)
        trial.wait_for(60, process)
        process.send(signal.SIGTERM)
        process.wait()
        for name in trial.listing():
            if "records" in name:
                key = f"results/{trial.name}/{name}"
                trial.site.ask("write", key, damage_records(trial.site.ask("read", key)))
        for path in trial.client().folder.glob("*.records.ndjson"):
            path.write_text(damage_records(path.read_text()))
        return trial.end(trial.start(force, "--resume"))


@fault("local folder: files cut by a power cut, records with NUL bytes", 0)
def half_files(trial: Trial) -> Seen:
    """Kill a run into a local folder; cut files with and without a record, and damage records."""
    trial.output = "out/"
    process = trial.start(THREADS, PAUSE=PAUSE)
    trial.wait_for(40, process)
    process.send(signal.SIGKILL)
    process.wait()
    files = sorted(trial.client().folder.glob("out/*.npy"))
    for path in files[:3]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    files[3].write_bytes(b"")
    files[4].write_bytes(b"\0" * files[4].stat().st_size)
    records = trial.client().folder / "out/records.ndjson"
    lines = records.read_text().splitlines(keepends=True)
    kept = [line for line in lines if files[4].name not in line]  # a file is on the disk before its record
    records.write_text(damage_records("".join(kept)))
    return trial.end(trial.start(THREADS, "--resume"))


def on_small_disk(host: Host, folder: str, size: str) -> None:
    """Mount a disk of a size at a folder of a host."""
    host.folder.joinpath(folder).mkdir()
    assert host.start("mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder).wait() == 0


@fault("disk of a local folder full; then larger, and resumed", 1)
def disk_full(trial: Trial) -> Seen:
    """Fill the disk of the output."""
    trial.output = "full/"
    on_small_disk(trial.client(), "full", "400k")
    seen = trial.end(trial.start(THREADS, PAUSE="0.01"))
    assert trial.client().start("mount", "-o", "remount,size=99m", "full").wait() == 0
    return seen


@fault("disk of the lines (results.ndjson) full, with a cluster; then larger, and resumed", 1)
def lines_full(trial: Trial) -> Seen:
    """Fill the disk of the lines."""
    trial.output = "lines/results.ndjson"
    on_small_disk(trial.client(), "lines", "300k")
    with workforce(trial.site, PAUSE="0.01") as force:
        seen = trial.end(trial.start(force))
    assert trial.client().start("mount", "-o", "remount,size=99m", "lines").wait() == 0
    return seen


@fault("disks of the workers full", 0, 1)
def workers_full(trial: Trial) -> Seen:
    """Fill the disks of the workers, where they have their temporary files."""
    with under_way(trial) as (force, process):
        for name in force.names:
            host = trial.site.hosts.host(name)
            assert host.start("mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=3", "none", host.here).wait() == 0
        try:
            return trial.end(process)
        finally:
            for name in force.names:
                trial.site.hosts.host(name).start("umount", "-l", trial.site.hosts.host(name).here).wait()


# Stores


@fault("no such bucket for the output", 3)
def no_bucket(trial: Trial) -> Seen:
    """Name a bucket that does not exist."""
    with workforce(trial.site, PAUSE=PAUSE) as force:
        return trial.end(trial.site.run(trial.client(), ROWS, "-o", "s3://no-such/x/", "--scheduler", force.address))


@fault("wrong credentials on the workers", 1)
def wrong_credentials(trial: Trial) -> Seen:
    """Give workers credentials that the store refuses."""
    with workforce(trial.site, PAUSE=PAUSE, AWS_SECRET_ACCESS_KEY="wrong") as force:
        return trial.end(trial.start(force))


@fault("wrong credentials on the client alone", 3)
def wrong_credentials_here(trial: Trial) -> Seen:
    """Give the client credentials that the store refuses."""
    with workforce(trial.site, PAUSE=PAUSE) as force:
        return trial.end(trial.start(force, AWS_SECRET_ACCESS_KEY="wrong"))
