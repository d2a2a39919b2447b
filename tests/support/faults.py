"""Faults of clusters, networks and machines, each done to a run of its own."""

import signal
import time

from support.site import workforce
from support.trial import PAUSE, SHORT, Seen, Trial, fault, under_way

WAIT = ("--wait-workers", "40s")


def cut(trial: Trial, host: str, seconds: float | None, *arguments: str) -> Seen:
    """Cut the link of a host during a run, for a while or for ever."""
    with under_way(trial, *arguments) as (_, process):
        place = trial.site.hosts.host(host)
        place.cut()
        try:
            if seconds is None:
                return trial.end(process)
            time.sleep(seconds)
            place.restore()
            return trial.end(process)
        finally:
            place.restore()


@fault("link of the client down for 60 s", 0)
def client_cut(trial: Trial) -> Seen:
    """Cut the client off, from scheduler and store."""
    return cut(trial, "client", 60)


@fault("link of the scheduler down for 60 s", 0)
def scheduler_cut(trial: Trial) -> Seen:
    """Cut the scheduler off."""
    return cut(trial, "scheduler", 60)


@fault("link of a worker down for 60 s", 0)
def worker_cut(trial: Trial) -> Seen:
    """Cut a worker off."""
    return cut(trial, "w2", 60)


@fault("link of the store down for 60 s", 0, 1)
def store_cut(trial: Trial) -> Seen:
    """Cut the store off."""
    return cut(trial, "store", 60)


@fault("link of the scheduler down for ever", 1)
def scheduler_cut_for_ever(trial: Trial) -> Seen:
    """Cut the scheduler off, for ever."""
    return cut(trial, "scheduler", None, *trial.site.known(*WAIT))


@fault("link of the client down for ever", 1)
def client_cut_for_ever(trial: Trial) -> Seen:
    """Cut the client off, for ever."""
    return cut(trial, "client", None, *trial.site.known(*WAIT))


@fault("link of the store down for ever", 1)
def store_cut_for_ever(trial: Trial) -> Seen:
    """Cut the store off, for ever."""
    return cut(trial, "store", None, *trial.site.known(*WAIT))


@fault("link of the client down twice, for 25 s each", 0)
def client_cut_twice(trial: Trial) -> Seen:
    """Cut the client off again, soon after it is back."""
    with workforce(trial.site, PAUSE=PAUSE) as force:
        process, place = trial.start(force), trial.client()
        for number in (20, 40):
            trial.wait_for(number, process)
            place.cut()
            time.sleep(25)
            place.restore()
        return trial.end(process)


@fault("client told to stop (SIGTERM) while it is cut off", 130)
def terminated_while_cut(trial: Trial) -> Seen:
    """Stop a run that waits for its network."""
    with under_way(trial) as (_, process):
        place = trial.client()
        place.cut()
        time.sleep(10)
        process.send(signal.SIGTERM)
        try:
            return trial.end(process, 30)
        finally:
            place.restore()


@fault("the store stops (SIGSTOP) for 60 s: it accepts requests, and does not answer", 0, 1)
def store_frozen(trial: Trial) -> Seen:
    """Stop the store for a minute."""
    with under_way(trial) as (_, process):
        with trial.site.store.frozen():
            time.sleep(60)
        return trial.end(process)


@fault("the store stops (SIGSTOP) for ever", 1)
def store_frozen_for_ever(trial: Trial) -> Seen:
    """Stop the store until the run has ended."""
    with under_way(trial, *trial.site.known(*WAIT)) as (_, process), trial.site.store.frozen():
        return trial.end(process)


@fault("scheduler killed, and started again after 10 s", 0)
def scheduler_restarted(trial: Trial) -> Seen:
    """Kill the scheduler, and start another."""
    with under_way(trial) as (force, process):
        force.scheduler.kill()
        time.sleep(10)
        force.start_scheduler()
        return trial.end(process)


@fault("scheduler told to stop (SIGTERM), and started again after 10 s", 0)
def scheduler_stopped(trial: Trial) -> Seen:
    """Stop the scheduler as a service manager does, and start another."""
    with under_way(trial) as (force, process):
        force.scheduler.send(signal.SIGTERM)
        force.scheduler.wait(30)
        time.sleep(10)
        force.start_scheduler()
        return trial.end(process)


@fault("all workers leave for 90 s", 0)
def workers_leave(trial: Trial) -> Seen:
    """Kill all workers, and start them again."""
    with under_way(trial) as (force, process):
        for worker in force.workers.values():
            worker.kill()
        time.sleep(90)
        for name in force.names:
            force.start_worker(name)
        return trial.end(process)


@fault("all workers leave for ever", 1)
def workers_leave_for_ever(trial: Trial) -> Seen:
    """Kill all workers."""
    with under_way(trial, *trial.site.known(*WAIT)) as (force, process):
        for worker in force.workers.values():
            worker.kill()
        return trial.end(process)


@fault("a worker of another version joins", 0)
def another_version(trial: Trial) -> Seen:
    """Let a worker with another version of the package join."""
    with under_way(trial) as (force, process):
        host = trial.site.hosts.host("w4")
        package = host.folder / "old/jp2batch"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text("__version__ = '0.0.9'\n")
        force.start_worker("w4", PYTHONPATH=f"{host.here}/old")
        return trial.end(process)


@fault("a worker without the package joins", 0)
def without_package(trial: Trial) -> Seen:
    """Let a worker without the package join."""
    with under_way(trial) as (force, process):
        host = trial.site.hosts.host("w4")
        package = host.folder / "none/jp2batch"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'jp2batch'\")\n")
        force.start_worker("w4", PYTHONPATH=f"{host.here}/none")
        return trial.end(process)


@fault("a worker is paused (its memory is full)", 0)
def paused(trial: Trial) -> Seen:
    """Let dask pause a worker from the start."""
    with workforce(trial.site, PAUSE=PAUSE) as force:
        force.start_paused("w4")
        return trial.end(trial.start(force))


@fault("all workers are paused", 1)
def all_paused(trial: Trial) -> Seen:
    """Let dask pause all workers, when the run has begun."""
    with under_way(trial, *trial.site.known(*WAIT)) as (force, process):
        for name in force.names:
            force.start_paused(f"p{name}")
            force.workers[name].kill()
        return trial.end(process, 120)


@fault("a worker freezes (SIGSTOP) for 60 s", 0)
def frozen(trial: Trial) -> Seen:
    """Stop all processes of a worker for a minute."""
    with under_way(trial) as (force, process):
        with force.frozen("w2"):
            time.sleep(60)
        return trial.end(process)


def bad_images(trial: Trial, name: str, *, nanny: bool, **settings: str) -> Seen:
    """Run with an image that crashes or hangs the decoder."""
    trial.rows = [*trial.rows[:40], {"Path": f"s3://images/{name}.jp2", "rlevel": 0}, *trial.rows[40:80]]
    with workforce(trial.site, nanny=nanny, PAUSE=PAUSE, **SHORT, **settings) as force:
        return trial.end(trial.start(force, *trial.site.known(*WAIT), **SHORT))


@fault("an image crashes the decoder (SIGSEGV), workers with nannies", 1)
def crash(trial: Trial) -> Seen:
    """Crash workers."""
    return bad_images(trial, "deadly", nanny=True)


@fault("an image crashes the decoder (SIGSEGV), --no-nanny, no service manager", 1)
def crash_without_nanny(trial: Trial) -> Seen:
    """Crash workers that nothing starts again."""
    return bad_images(trial, "deadly", nanny=False, ONCE="1")


@fault("an image crashes the decoder (SIGSEGV), --no-nanny, started again", 1)
def crash_restarted(trial: Trial) -> Seen:
    """Crash workers that a service manager starts again."""
    return bad_images(trial, "deadly", nanny=False)


@fault("an image hangs the decoder, workers with nannies", 1)
def hang(trial: Trial) -> Seen:
    """Hang workers."""
    return bad_images(trial, "endless", nanny=True)


@fault("an image hangs the decoder, --no-nanny, no service manager", 1)
def hang_without_nanny(trial: Trial) -> Seen:
    """Hang workers that nothing starts again."""
    return bad_images(trial, "endless", nanny=False, ONCE="1")
