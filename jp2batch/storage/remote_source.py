"""Source over an object read by any driver; every reply is checked."""

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TypeVar

import fsspec.asyn

from jp2batch.core.config import is_mirrored, retry_policy
from jp2batch.core.costs import StoreCosts
from jp2batch.core.errors import ConfigurationError, Jp2BatchError, StorageError, StoreUnavailable
from jp2batch.core.location import Location
from jp2batch.core.ranges import ByteRange
from jp2batch.storage.base_source import BaseSource, Meter
from jp2batch.storage.cluster_limits import cluster_lease
from jp2batch.storage.deadline import seconds_left
from jp2batch.storage.drivers.driver import Driver
from jp2batch.storage.errors import translate_error
from jp2batch.storage.hedging import Hedge, Started, hedge_budget
from jp2batch.storage.http_status import status_of
from jp2batch.storage.latency import gauge
from jp2batch.storage.limits import Lease, slots_of
from jp2batch.storage.replies import Piece, Reply, Version, replaced, validate_reply
from jp2batch.storage.retry import retried

T = TypeVar("T")


class RemoteSource(BaseSource):
    """A source over an object in a remote store.

    Parameters
    ----------
    make : callable
        Makes the driver, which counts on a meter.
    location : Location
        Description of the object in messages.
    profile : StoreCosts
        Costs of reading from its store.
    loop : asyncio.AbstractEventLoop, optional
        Event loop of the driver; fsspec's by default.
    key : str
        Name of the object in an index.
    store : str
        Name of its store; all objects of a store share its limits.
    """

    def __init__(
        self,
        make: Callable[[Meter], Driver],
        location: Location,
        profile: StoreCosts,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        key: str = "",
        store: str = "",
    ) -> None:
        self._store_name, self._gauge = store, gauge(store)
        super().__init__(location.redacted, self._gauge.applied(profile), key)
        self._slots = slots_of(store, profile)
        self._lease: Lease | None = None
        self.location = location
        self._loop = loop
        self._store = make(self.meter)
        self._retries = retry_policy()
        self._hedges = hedge_budget(store)
        self._is_hedged = (
            self._retries.hedged > 0
            and self._store.is_cancellable
            and profile.latency > 0
            and not profile.requests_per_minute  # never past a quota
        )
        self._is_mirrored = is_mirrored(store)
        self._whole: bytes | None = None
        self._lock = threading.Lock()

    def read_many(self, ranges: Sequence[ByteRange]) -> list[Piece]:
        """Read ranges, all at once; see `source.Source`."""
        self._check_ranges(ranges)
        if self._version is None:
            return [self._run(self._first, span) for span in ranges]
        if self._whole is not None:
            return [(start, self._whole[start:stop]) for start, stop in ranges]
        return self._run(self._all, ranges)

    def expect(self, version: Version | None) -> None:
        """Set the expected version; see `source.Source`."""
        self._whole = None
        super().expect(version)

    def verify(self) -> None:
        """Verify the version of all bytes read; see `source.Source`."""
        if self._version is not None and not (self._store.tells_version and self._confirmed):
            self._learn(self._run(self._look))
            if not self._confirmed:  # the store stopped sending a version
                raise replaced().at(self.path)

    def _run(self, step: Callable[..., Coroutine[object, object, T]], *arguments: object) -> T:
        if self.profile.requests_per_minute:
            self._lease = cluster_lease(self._store_name, self.profile.connections)
        # Not cached: after a fork, fsspec has another loop.
        loop = self._loop or fsspec.asyn.get_loop()
        try:
            with self.meter.waiting():
                result: T = fsspec.asyn.sync(loop, step, *arguments, timeout=seconds_left())
        except Jp2BatchError as error:
            error.__context__ = None  # the driver's error may hold secrets, or objects that dask cannot pickle
            raise
        return result

    async def _first(self, span: ByteRange) -> Piece:
        reply, version = await (self._get_then_look(span) if self._store.tells_version else self._get_and_look(span))
        if version.size is None:
            raise StorageError(self.path, "the store does not tell the object's size", "copy it to another store")
        try:
            validate_reply(reply, span, version)
        except Jp2BatchError as error:
            raise error.at(self.location) from None
        self._learn(version, reply.data if reply.whole else None)
        return (0 if reply.whole else span.start), reply.data

    async def _get_then_look(self, span: ByteRange) -> tuple[Reply, Version]:
        reply = await self._get(span)
        return reply, reply.version if reply.version.size is not None else await self._look()

    async def _get_and_look(self, span: ByteRange) -> tuple[Reply, Version]:
        version, reply = await asyncio.gather(self._look(), self._get(span), return_exceptions=True)
        if isinstance(version, BaseException):
            raise version
        if version.size == 0:  # some stores refuse every range of an empty object
            return Reply(b""), version
        if isinstance(reply, BaseException):
            raise reply
        return reply, version

    async def _all(self, ranges: Sequence[ByteRange]) -> list[Piece]:
        left, pieces = iter(enumerate(ranges)), [(span.start, b"") for span in ranges]

        async def read() -> None:
            for place, span in left:
                pieces[place] = span.start, (await self._get(span)).data

        try:
            async with asyncio.TaskGroup() as group:
                if not (self._confirmed or self._store.tells_version):
                    group.create_task(self._look_again())
                for _ in range(self.profile.connections_for(len(ranges), self._slots.open_connections)):
                    group.create_task(read())
        except BaseExceptionGroup as failed:  # all other tasks were cancelled
            raise failed.exceptions[0] from None
        return pieces

    async def _look_again(self) -> None:
        self._learn(await self._look())

    async def _get(self, span: ByteRange) -> Reply:
        """Read a range, repeating the request after transient failures.

        Every range passes here.
        """

        async def attempt(started: Started = lambda: None) -> Reply:
            async with self._slots.slot(self._lease):
                started()
                begin = time.perf_counter()
                try:
                    reply = await self._reply(span)
                    self._gauge.note(len(reply.data), time.perf_counter() - begin)
                    if self._version is not None:
                        self._confirm(reply.version)
                    known = self._version or reply.version  # the first reply has to agree with itself
                    return reply if known.size is None else validate_reply(reply, span, known)
                except Exception as error:  # noqa: BLE001  (each driver has its own)
                    raise self._fault(error, span) from None

        async def hedged() -> Reply:
            self._hedges.earn(self._retries.hedged)
            patience = functools.partial(self._gauge.patience, span.size)
            return await self._hedges.run(Hedge(attempt, patience, self._may_repeat))

        return await retried(hedged if self._is_hedged else attempt, self._retries, self.meter.retried)

    def _may_repeat(self, lateness: float) -> bool:
        """Return whether a late request may be repeated beside itself."""
        return not self._slots.is_full and self._hedges.spend(lateness)

    async def _reply(self, span: ByteRange) -> Reply:
        try:
            reply = await self._store.get(span, self._version)
        except Exception as error:
            if self._version is None or status_of(error) != 412:
                raise
            # The condition failed, but the refusal does not tell the version of the object.
            raise replaced(self._version, await self._store.look(None)) from None
        return reply._replace(version=self._tagged(reply.version)) if self._is_mirrored else reply

    def _tagged(self, version: Version) -> Version:
        """Return a version as it identifies objects in this store."""
        if not self._is_mirrored or version is self._version:
            return version
        if version.size and version.modified is None:
            problem = "jp2batch.mirrors has its host, but a reply has no Last-Modified"
            raise ConfigurationError(self.path, problem, "remove the host from jp2batch.mirrors")
        return version.by_time()

    async def _look(self) -> Version:
        async def attempt() -> Version:
            async with self._slots.slot(self._lease):
                try:
                    return self._tagged(await self._store.look(self._version))
                except Exception as error:  # noqa: BLE001  (each driver has its own)
                    raise self._fault(error) from None

        return await retried(attempt, self._retries, self.meter.retried)

    def _fault(self, error: Exception, span: ByteRange | None = None) -> Jp2BatchError:
        """Return the translated error of a request.

        All requests pause if the store demands it.
        """
        fault = translate_error(error, self.location, f"reading {span}" if span else "")
        if isinstance(fault, StoreUnavailable) and 0 < (fault.retry_after or 0) <= self._retries.longest_wait:
            self._slots.pause(fault.retry_after or 0)
        return fault

    def _learn(self, version: Version, whole: bytes | None = None) -> None:
        with self._lock:
            self._confirm(version)
            if self._version is None:
                self._whole = whole  # first: readers that see a version rely on it
                self._version = version
            elif self._version.differs(version):
                raise replaced(self._version, version).at(self.path)
