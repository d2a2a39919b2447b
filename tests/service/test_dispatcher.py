"""The places of the service's workers: free ones and taken ones are all there are, whoever leaves, and whenever."""

import asyncio
import random
import selectors
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jp2batch.compute.result import Result
from jp2batch.core.errors import ClusterLost
from jp2batch.core.request import Request
from jp2batch.service.canary import Canary
from jp2batch.service.dispatcher import Dispatcher
from jp2batch.service.metrics import Metrics
from jp2batch.service.problems import Busy, NotInTime
from jp2batch.service.reading import Reading
from jp2batch.service.suspects import Suspects
from jp2batch.service.worker_actor import Hung, Job

QUEUE = 4
GRACE = 5.0  # seconds after its deadline in which a worker ends a job, as `decoder.Decoder` does


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time passes only while there is nothing to do, and that never waits in vain."""

    def __init__(self) -> None:
        super().__init__(_Impatient())

    def time(self) -> float:
        return self._selector.now  # type: ignore[attr-defined]


class _Impatient(selectors.DefaultSelector):  # type: ignore[valid-type, misc]
    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "all wait, and nothing will ever happen"
        self.now += timeout
        return super().select(0)


@dataclass(eq=False)
class FakeWorker:
    """A worker: its jobs end when they are told to, when they are given up, or some time after their deadlines."""

    places: int
    deaf: bool = False
    """Whether it ignores that jobs are given up."""
    jobs: dict[str, "asyncio.Future[Result]"] = field(default_factory=dict)

    def read(self, job: Job, seconds: float) -> Awaitable[Result]:
        loop = asyncio.get_running_loop()
        self.jobs[job.id] = done = loop.create_future()
        assert len(self.jobs) <= self.places, "it has more jobs than places"
        result = Result(job.request, "ok", value=job.id)
        loop.call_later(seconds + GRACE, self.end, job.id, result)
        done.add_done_callback(lambda _: self.jobs.pop(job.id))
        self.latest = result
        return asyncio.shield(done)  # whoever asks may leave: it goes on

    async def give_up(self, job_id: str) -> None:
        if not self.deaf:
            self.end(job_id, self.latest)

    def end(self, job_id: str, result: Result) -> None:
        if job_id in self.jobs and not self.jobs[job_id].done():
            self.jobs[job_id].set_result(result)

    def fail(self, error: Exception) -> None:
        for done in list(self.jobs.values()):
            if not done.done():
                done.set_exception(error)
                done.exception()


class FakeCluster:
    """As much of a client of dask as the pool uses."""

    def __init__(self) -> None:
        self.workers: dict[str, FakeWorker] = {}
        self.count = 0

    def add(self, worker: FakeWorker) -> None:
        self.count += 1
        self.workers[f"tcp://{self.count}"] = worker

    def kill(self, number: int, *, silently: bool) -> None:
        """End a worker; silently: nothing tells those who wait for it, as when a machine is gone."""
        if self.workers:
            worker = self.workers.pop(sorted(self.workers)[number % len(self.workers)])
            if not silently:
                worker.fail(OSError("the connection is closed"))

    async def restart_workers(self, addresses: Sequence[str], **_: object) -> None:
        for address in addresses:
            worker = self.workers.pop(address)
            worker.fail(OSError("the connection is closed"))
            self.add(FakeWorker(worker.places))

    async def nthreads(self) -> dict[str, int]:
        await asyncio.sleep(0)
        return {address: worker.places for address, worker in self.workers.items()}

    async def submit(self, *_: object, workers: Sequence[str], **__: object) -> FakeWorker:
        await asyncio.sleep(0.1)
        return self.workers[workers[0]]


class Bench:
    """A pool on a fake cluster, and its clients."""

    def __init__(self, queue: int = QUEUE) -> None:
        self.cluster = FakeCluster()
        client: Any = self.cluster
        self.pool = Dispatcher(client, {}, queue=queue, metrics=Metrics(), own_workers=True)
        self.clients: list[asyncio.Task[Result]] = []
        self.arrived = 0

    def arrive(self, seconds: float = 30.0, client: str | None = None) -> "asyncio.Task[Result]":
        self.arrived += 1
        end = asyncio.get_running_loop().time() + seconds
        job = Job(str(self.arrived), "default", Request(f"{self.arrived % 7}.jp2"), Reading(), end=end)
        asking = asyncio.ensure_future(self._ask(job, str(self.arrived % 3) if client is None else client))
        self.clients.append(asking)
        return asking

    async def _ask(self, job: Job, client: str) -> Result:
        return await self.pool.run(job, client)

    def leave(self, number: int) -> None:
        waiting = [client for client in self.clients if not client.done()]
        if waiting:
            waiting[number % len(waiting)].cancel()

    def finish(self, number: int) -> None:
        jobs = [(worker, name) for worker in self.cluster.workers.values() for name in worker.jobs]
        if jobs:
            worker, name = jobs[number % len(jobs)]
            worker.end(name, worker.latest)

    def fail(self, number: int) -> None:
        workers = list(self.cluster.workers.values())
        if workers:
            workers[number % len(workers)].fail(ValueError("an answer that cannot be read"))

    def verify(self) -> None:
        pool = self.pool
        assert pool.free + pool.running == pool.places
        assert min(pool.free, pool.running) >= 0
        assert pool.running <= pool._queue.running.total() == len(pool._running)
        idle = sum(not getter.done() for getter in pool._queue._getters)
        assert idle <= pool.free
        assert not (idle > 1 and pool.waiting > pool.free - idle), "somebody waits though there are places"

    async def settle(self) -> None:
        """Let all clients leave, and all workers end what they do."""
        for client in self.clients:
            client.cancel()
        await asyncio.gather(*self.clients, return_exceptions=True)
        await asyncio.sleep(30 + 2 * GRACE)  # beyond all deadlines, and long enough to take on new workers
        self.verify()

    async def all_places_work(self) -> None:
        """Verify that there can be as many jobs at once as places."""
        await asyncio.sleep(11)  # a client alone may take all places
        clients = [self.arrive(client="one") for _ in range(self.pool.places)]
        await asyncio.sleep(0.01)
        assert self.pool.running == len(clients) > 0
        assert sum(len(worker.jobs) for worker in self.cluster.workers.values()) == len(clients)
        for _ in clients:
            self.finish(0)
            await asyncio.sleep(0.01)
        assert [client.result().status for client in clients] == ["ok"] * len(clients)

    async def answered(self) -> Result:
        client = self.arrive()
        while not any(worker.jobs for worker in self.cluster.workers.values()):
            await asyncio.sleep(0.01)
        self.finish(0)
        return await client


async def tick(bench: Bench, turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
        bench.verify()


STEPS: dict[str, tuple[int, Callable[[Bench, int], Any]]] = {
    "arrive": (12, lambda bench, _: bench.arrive()),
    "arrive in a hurry": (4, lambda bench, number: bench.arrive(number / 2)),
    "leave": (8, lambda bench, number: bench.leave(number)),
    "finish": (8, lambda bench, number: bench.finish(number)),
    "fail": (1, lambda bench, number: bench.fail(number)),
    "kill": (1, lambda bench, number: bench.cluster.kill(number, silently=number % 2 == 0)),
    "add": (1, lambda bench, number: bench.cluster.add(FakeWorker(1 + number % 3, deaf=number % 2 == 0))),
    "look": (2, lambda bench, _: bench.pool._workers.look_soon()),
    "tick": (16, tick),
    "wait": (2, lambda _, number: asyncio.sleep(number / 4)),
}
"""What may happen, and how often it does."""


def play(steps: Sequence[tuple[str, int]]) -> None:
    """Do steps, and verify that afterwards every place is free, and a request is answered."""

    async def played() -> None:
        bench = Bench()
        bench.cluster.add(FakeWorker(2))
        keeper = asyncio.ensure_future(bench.pool.keep())
        await asyncio.sleep(1)
        for kind, number in steps:
            happened = STEPS[kind][1](bench, number)
            if asyncio.iscoroutine(happened):
                await happened
            bench.verify()
        bench.cluster.add(FakeWorker(1))  # of the others, perhaps none is left
        await bench.settle()
        pool = bench.pool
        assert (pool.free, pool.running, pool.waiting) == (pool.places, 0, 0)
        assert pool.places == sum(worker.places for worker in bench.cluster.workers.values())
        assert len(pool._tasks) == pool.places, "something runs on"
        await bench.all_places_work()
        keeper.cancel()
        await drained(bench)

    run(played())


async def drained(bench: Bench) -> None:
    """Close a pool in the middle of its work: nobody waits for it in vain."""
    for _ in range(10):
        bench.arrive()
    await asyncio.sleep(0)
    await bench.pool.close()
    await asyncio.sleep(0)
    assert all(client.done() for client in bench.clients)
    assert not bench.pool._tasks
    assert (bench.pool.places, bench.pool.running, bench.pool.waiting) == (0, 0, 0)


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=Clock) as runner:
        failures: list[dict[str, Any]] = []
        runner.get_loop().set_exception_handler(lambda _, context: failures.append(context))
        runner.run(coroutine)
    assert not failures, failures


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(list(STEPS)), st.integers(0, 9)), max_size=60))
def test_whatever_happens_every_place_is_free_afterwards(steps):
    play(steps)


@pytest.mark.parametrize("seed", range(4))
def test_no_place_is_lost_in_thousands_of_steps(seed):
    random_ = random.Random(seed)
    weights = [weight for weight, _ in STEPS.values()]
    play([(kind, random_.randrange(10)) for kind in random_.choices(list(STEPS), weights, k=3000)])


MOMENTS = range(10)  # turns of the event loop, in all of which something happens to a job


async def crowded() -> tuple[Bench, FakeWorker, "asyncio.Task[Result]", "asyncio.Task[Result]"]:
    """Return one worker with one place, who has it, and who waits for it."""
    bench, worker = Bench(), FakeWorker(1)
    bench.cluster.add(worker)
    bench.pool._tasks.spawn(bench.pool.keep())
    await asyncio.sleep(1.5)
    first, second = bench.arrive(client="one"), bench.arrive(client="one")
    while not worker.jobs:
        await asyncio.sleep(0)
    return bench, worker, first, second


async def after(turns: int, act: Callable[[], object]) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    act()


@pytest.mark.parametrize("event", ["finish", "leave", "fail", "kill"])
def test_a_client_may_leave_at_any_moment_of_a_handover(event):
    """One client's place comes free in each turn of the event loop, while another one leaves in each other turn."""

    async def played(one: int, other: int) -> None:
        bench, _worker, first, second = await crowded()
        happens: dict[str, Callable[[], object]] = {
            "finish": lambda: bench.finish(0),
            "leave": first.cancel,
            "fail": lambda: bench.fail(0),
            "kill": lambda: bench.cluster.kill(0, silently=False),
        }
        await asyncio.gather(after(one, happens[event]), after(other, second.cancel))
        bench.cluster.add(FakeWorker(1))
        await bench.settle()
        assert (bench.pool.free, bench.pool.running, bench.pool.waiting) == (bench.pool.places, 0, 0)
        assert (await bench.answered()).status == "ok"
        await bench.pool.close()

    for one in MOMENTS:
        for other in MOMENTS:
            run(played(one, other))


def test_a_deadline_may_pass_in_the_moment_of_a_handover():
    async def played(turns: int) -> None:
        bench, _worker, first, second = await crowded()
        second.cancel()
        late = bench.arrive(seconds=5.0)
        asyncio.get_running_loop().call_later(5.0, bench.finish, 0)
        await asyncio.sleep(5.0)
        await after(turns, lambda: None)
        bench.verify()
        await first
        await asyncio.gather(late, return_exceptions=True)
        await bench.settle()
        assert (bench.pool.free, bench.pool.running) == (1, 0)
        assert (await bench.answered()).status == "ok"
        await bench.pool.close()

    for turns in MOMENTS:
        run(played(turns))


def test_a_pool_may_be_closed_at_any_moment():
    async def played(turns: int) -> None:
        bench, *_ = await crowded()
        bench.finish(0)
        await after(turns, lambda: None)
        await drained(bench)

    for turns in MOMENTS:
        run(played(turns))


def test_a_place_is_taken_as_long_as_a_worker_is_at_it():
    async def played() -> None:
        bench, worker, first, second = await crowded()
        worker.deaf = True
        first.cancel()
        await asyncio.sleep(1)
        assert (bench.pool.free, bench.pool.running, bench.pool.waiting) == (0, 1, 1)
        bench.finish(0)
        await asyncio.sleep(1)
        bench.finish(0)
        assert (await second).value == "2"
        await bench.pool.close()

    run(played())


def test_who_waits_is_served_in_order_and_who_was_lost_first():
    async def played() -> None:
        bench, worker, first, _second = await crowded()
        third = bench.arrive(client="one")
        await asyncio.sleep(0)
        worker.fail(OSError("the connection is closed"))
        await asyncio.sleep(0.01)
        served = []
        for _ in range(3):
            while not worker.jobs:
                await asyncio.sleep(0.01)
            served += worker.jobs
            bench.finish(0)
            await asyncio.sleep(0.01)
        assert served == ["1+", "2", "3"]
        assert [(await client).status for client in (first, third)] == ["ok", "ok"]
        await bench.pool.close()

    run(played())


def test_a_job_whose_workers_are_lost_again_and_again_is_refused():
    async def played() -> None:
        bench, worker, first, second = await crowded()
        second.cancel()
        for _ in range(4):
            while not worker.jobs:
                await asyncio.sleep(0.01)
            worker.fail(OSError("the connection is closed"))
            await asyncio.sleep(0.01)
        with pytest.raises(Busy, match="lost repeatedly"):
            await first
        await bench.pool.close()

    run(played())


def test_more_than_places_and_queue_are_refused_until_some_leave():
    async def played() -> None:
        bench, *_ = await crowded()
        more = [bench.arrive() for _ in range(QUEUE)]
        await asyncio.sleep(0.01)
        with pytest.raises(Busy, match="the server is busy"):
            await more[-1]
        for client in bench.clients:
            client.cancel()
        await asyncio.sleep(0.01)
        assert (await bench.answered()).status == "ok"
        await bench.pool.close()

    run(played())


def test_a_job_that_has_mostly_waited_is_refused_and_one_that_has_run_is_late():
    async def played() -> None:
        bench = Bench()
        bench.cluster.add(FakeWorker(2))
        bench.pool._tasks.spawn(bench.pool.keep())
        await asyncio.sleep(1.5)
        running = [bench.arrive(10, client="one") for _ in range(bench.pool.places)]
        await asyncio.sleep(0.01)
        waiting = bench.arrive(10, client="one")
        with pytest.raises(Busy, match="the server is busy"):
            await waiting
        for client in running:
            with pytest.raises(NotInTime):
                await client
        await bench.pool.close()

    run(played())


def test_without_a_queue_free_places_are_given():
    async def played() -> None:
        bench = Bench(queue=0)
        bench.cluster.add(FakeWorker(1))
        bench.pool._tasks.spawn(bench.pool.keep())
        await asyncio.sleep(1.5)
        taken, refused = bench.arrive(), bench.arrive()
        with pytest.raises(Busy, match="the server is busy"):
            await refused
        bench.finish(0)
        assert (await taken).status == "ok"
        await bench.pool.close()

    run(played())


def test_clients_take_turns_and_the_newest_of_the_greediest_makes_room():
    async def played() -> None:
        bench, worker, *_ = await crowded()
        greedy = [bench.arrive(client="one") for _ in range(QUEUE - 1)]
        polite, third = bench.arrive(client="two"), bench.arrive(client="three")
        await asyncio.sleep(0.01)
        for refused in greedy[-2:]:
            with pytest.raises(Busy, match="the server is busy"):
                await refused
        served = []
        for _ in range(4):
            served += worker.jobs
            bench.finish(0)
            await asyncio.sleep(0.01)
        assert served == ["1", "6", "2", "7"]
        assert [client.result().status for client in (polite, third)] == ["ok", "ok"]
        await bench.pool.close()

    run(played())


def test_a_client_leaves_a_place_to_others_that_have_asked_lately():
    async def played() -> None:
        bench = Bench()
        bench.cluster.add(FakeWorker(2))
        bench.pool._tasks.spawn(bench.pool.keep())
        await asyncio.sleep(1.5)
        polite = bench.arrive(client="two")
        await asyncio.sleep(0.01)
        bench.finish(0)
        await polite
        for _ in range(2):
            bench.arrive(client="one")
        await asyncio.sleep(0.01)
        assert (bench.pool.running, bench.pool.waiting) == (1, 1)
        await asyncio.sleep(11)
        bench.arrive(client="one")
        await asyncio.sleep(0.01)
        assert (bench.pool.running, bench.pool.waiting) == (2, 1)
        await bench.pool.close()

    run(played())


@pytest.mark.parametrize(("client", "relieved"), [("two", True), ("one", False)])
def test_slow_jobs_of_a_client_do_not_take_all_places(client, relieved):
    async def played() -> None:
        bench = Bench()
        bench.cluster.add(FakeWorker(2))
        bench.pool._tasks.spawn(bench.pool.keep())
        await asyncio.sleep(1.5)
        slow = [bench.arrive(client="one") for _ in range(3)]
        await asyncio.sleep(5)
        other = bench.arrive(client=client)
        await asyncio.sleep(5)
        assert [job.done() for job in slow] == [False, relieved, False]
        if relieved:
            with pytest.raises(Busy, match="slow requests"):
                await slow[1]
            bench.finish(1)
            assert (await other).status == "ok"
        await bench.pool.close()

    run(played())


def test_a_worker_that_does_not_stop_is_restarted():
    async def played() -> None:
        bench, worker, first, second = await crowded()
        worker.deaf = True
        first.cancel()
        await asyncio.sleep(9)
        assert bench.pool.running == 1
        await asyncio.sleep(3)
        assert list(bench.cluster.workers) == ["tcp://2"]
        bench.finish(0)
        assert (await second).value == "2"
        await bench.pool.close()

    run(played())


def test_a_job_late_because_its_workers_were_lost_is_refused():
    async def played() -> None:
        bench = Bench()
        keeping = asyncio.ensure_future(bench.pool.keep())
        bench.cluster.add(FakeWorker(1))
        await asyncio.sleep(2)
        asking = bench.arrive(seconds=30)
        await asyncio.sleep(1)
        bench.fail(0)
        bench.cluster.workers.clear()
        bench.cluster.add(FakeWorker(1))
        await asyncio.sleep(10)
        assert bench.pool.running == 1
        with pytest.raises(Busy):
            await asking
        keeping.cancel()
        await bench.pool.close()

    run(played())


def test_a_free_place_holds_no_result():
    class Samples:
        """Samples of a part."""

    async def played() -> None:
        bench = Bench()
        keeping, worker = asyncio.ensure_future(bench.pool.keep()), FakeWorker(1)
        bench.cluster.add(worker)
        asking = bench.arrive()
        await asyncio.sleep(2)
        (name,), held = worker.jobs, Samples()
        worker.end(name, Result(Request("a.jp2"), "ok", value=held))
        assert (await asking).value is held
        still_there = weakref.ref(held)
        bench.clients.clear()
        del held, asking
        await asyncio.sleep(0.1)
        assert still_there() is None
        keeping.cancel()
        await bench.pool.close()

    run(played())


def test_it_is_ready_while_reads_succeed():
    async def played() -> None:
        bench = Bench()
        canary = Canary(bench.pool, 30.0, fatal=True)
        keeping = asyncio.gather(bench.pool.keep(), canary.keep())
        worker = FakeWorker(1)
        bench.cluster.add(worker)
        await asyncio.sleep(2)
        assert not canary.ready
        bench.finish(0)
        await asyncio.sleep(0.1)
        assert canary.ready
        await asyncio.sleep(44)
        assert canary.ready
        bench.cluster.workers.clear()
        await asyncio.sleep(2)
        assert not canary.ready
        with pytest.raises(ClusterLost, match="no read has succeeded"):
            await keeping
        await bench.pool.close()

    run(played())


def an_error(etag: str) -> Hung:
    return Hung("a.jp2", "the decoder hangs", etag=etag)


def test_a_file_is_suspect_until_a_good_read_and_refused_after_two_hangs_of_a_version():
    suspects = Suspects()
    job = Job("1", "default", Request("a.jp2"), Reading(), end=0)
    suspects.died(job)
    assert suspects.marked(job, 0).alone
    suspects.clear(job)
    assert suspects.marked(job, 0) == job
    for etag in "abb":
        assert suspects.marked(job, 0).hung is None
        suspects.hung(job, an_error(etag), 0)
    assert suspects.marked(job, 599).hung == ("b",)
    assert suspects.marked(job, 601).hung is None
