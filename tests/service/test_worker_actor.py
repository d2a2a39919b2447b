"""What a worker of the service does with one job: it stops where nobody waits any more, or where it takes too long."""

import asyncio
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jp2batch.compute.task import TaskSpec, run_task
from jp2batch.core.giving_up import GivenUp, checking
from jp2batch.core.options import SecretDict
from jp2batch.core.ranges import ByteRange
from jp2batch.core.request import Request
from jp2batch.service import worker_actor
from jp2batch.service.problems import NotInTime, problem_of
from jp2batch.service.reading import Reading
from jp2batch.service.roots import open_below
from jp2batch.service.worker_actor import DeadlineSource, Hung, Job, ReadActor
from jp2batch.storage.deadline import read_deadline, seconds_left
from jp2batch.storage.source import MemorySource, open_source

FAR = time.monotonic() + 3600


def a_job(path: str) -> Job:
    return Job("1", "default", Request(Path(path).name, root=str(Path(path).parent)), Reading(), end=0)


def a_decoder(**order: object) -> ReadActor:
    plain = TaskSpec(lambda _pixels, request: request.path, SecretDict(), None, None, open=open_below)
    sealed: Any = SimpleNamespace(opened=lambda: replace(plain, **order))
    return ReadActor({"default": sealed}, 1, own=False)


class Stopping(MemorySource):
    """A source that, at its first read, tells that it has begun, and waits until it may go on."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.begun, self.go_on = threading.Event(), threading.Event()

    def read_many(self, ranges):
        if not self.ranges:
            self.begun.set()
            self.go_on.wait(10)
        return super().read_many(ranges)


def test_a_read_is_given_up_at_its_next_step():
    source = MemorySource(bytes(100))
    watched = DeadlineSource(source, FAR)

    def check() -> None:
        if source.ranges:
            raise GivenUp("", "nobody waits")

    with checking(check), pytest.raises(GivenUp):
        watched.read_many([ByteRange(0, 10)])
    watched.read_many([ByteRange(10, 20)])
    assert source.ranges == [(0, 10), (10, 20)]


def test_a_decode_is_given_up_between_blocks_of_tiles(image_of):
    """A large image is decoded block by block; nobody waits any more after the first."""
    checks = []

    def check() -> None:
        checks.append(time.monotonic())
        if len(checks) == 4:  # two blocks are assembled, then decoded
            raise GivenUp("", "nobody waits")

    data = Path(image_of("B08_10m")).read_bytes()
    order = TaskSpec(lambda *_: None, SecretDict(), None, None, open=lambda *_: MemorySource(data))
    with checking(check):
        result = run_task(Request("band.jp2", rlevel=0), order)
    assert isinstance(result.error, GivenUp)


def test_a_version_on_which_the_decoder_hangs_is_refused(band):
    source = MemorySource(Path(band).read_bytes())
    job = replace(a_job(band), hung=(None,))
    answer = asyncio.run(a_decoder(open=lambda *_: source).read(job, 60))
    assert problem_of(answer.error).status == 422
    other = replace(job, hung=("another version",))
    assert asyncio.run(a_decoder(open=lambda *_: source).read(other, 60)).status == "ok"


def test_a_job_that_nobody_waits_for_reads_no_more(band):
    source = Stopping(Path(band).read_bytes())

    async def given_up():
        worker = a_decoder(open=lambda *_: source)
        reading = asyncio.ensure_future(worker.read(a_job(band), 60))
        await asyncio.to_thread(source.begun.wait, 10)
        await worker.give_up("1")
        source.go_on.set()
        return await reading

    assert isinstance(asyncio.run(given_up()).error, GivenUp)
    assert source.meter.requests == 1


def test_a_job_that_somebody_waits_for_is_done(band):
    assert asyncio.run(a_decoder().read(a_job(band), 60)).status == "ok"


def test_no_store_is_waited_for_beyond_the_time_there_is(http_server):
    http_server.files["a"] = bytes(1000)
    http_server.delay = 30.0
    watched = DeadlineSource(open_source(http_server.url("a")), time.monotonic() + 0.2)
    with pytest.raises(NotInTime) as raised:
        watched.read_many([ByteRange(0, 10)])
    problem = problem_of(raised.value)
    assert (problem.status, problem.retryable) == (504, True)
    assert raised.value.__context__ is None


def test_the_time_there_is_ends_with_its_block():
    assert seconds_left() is None
    with read_deadline(time.monotonic() + 10):
        assert 9 < (seconds_left() or 0) <= 10
    with read_deadline(time.monotonic() - 10):
        assert 0 < (seconds_left() or 0) < 1
    assert seconds_left() is None


def test_where_a_decoder_hangs_in_a_process_of_others_its_thread_is_left(band, monkeypatch):
    monkeypatch.setattr(worker_actor, "_GRACE", 0.1)
    source = Stopping(Path(band).read_bytes())
    opened = iter([source, MemorySource(Path(band).read_bytes())])

    async def hung():
        worker = a_decoder(open=lambda *_: next(opened))
        first = await worker.read(a_job(band), 0.1)
        second = await worker.read(a_job(band), 60)
        source.go_on.set()
        return first, second

    first, second = asyncio.run(hung())
    assert isinstance(first.error, Hung)
    assert second.status == "ok"
