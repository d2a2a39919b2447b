"""Handlers of images: the contract of the old service, and more."""

import asyncio
import functools
import secrets
import zlib
from collections.abc import Coroutine
from dataclasses import replace

import numpy as np
import orjson
from tornado.web import Finish

from jp2batch.compute.result import Result
from jp2batch.core.errors import Jp2BatchError
from jp2batch.core.redaction import redact
from jp2batch.core.request import Request
from jp2batch.service.handler import Handler
from jp2batch.service.problems import Busy, problem_of
from jp2batch.service.reading import GZIP_LEVEL, MOST_AT_ONCE, Content, Reading, Settled, describe_image, describe_plan
from jp2batch.service.representations import TYPES, accepts_gzip, head_of, slices_of, tail_of, type_for
from jp2batch.service.request_body import parse_batch, parse_body, parse_query, parse_values
from jp2batch.service.roots import Root
from jp2batch.service.worker_actor import Job

_AGAIN = 0.2  # seconds until a part is requested again from a busy server


class Reader(Handler):
    """Base of handlers with reads on workers."""

    protected = True
    _work: "asyncio.Future[None] | None" = None

    async def run(self, work: Coroutine[object, object, None]) -> None:
        """Run a coroutine until its client disconnects."""
        self._work = asyncio.ensure_future(work)
        try:
            await self._work
        except asyncio.CancelledError:
            if self.is_accounted:  # the client has disconnected
                raise Finish from None
            raise

    def on_connection_close(self) -> None:
        """Cancel the reads."""
        super().on_connection_close()
        if self._work is not None:
            self._work.cancel()

    async def read(self, root: Root, request: Request, reading: Reading) -> Result:
        """Read a part of an image; its content is `content_of` the result.

        Raises
        ------
        Jp2BatchError
            It cannot be read.
        """
        end = asyncio.get_running_loop().time() + self.service.settings.limits.deadline
        result = await self._admitted(Job(secrets.token_hex(8), root.name, request, reading, end))
        self.service.metrics.read(result)
        if result.error is not None and not isinstance(result.error, Settled):
            raise result.error
        return result

    @property
    def _client(self) -> str:
        """Client for fair shares: its token, or else its address."""
        token = self.request.headers.get("Authorization", "").strip().rpartition(" ")[2]
        return token if self.service.settings.tokens else str(self.request.remote_ip)

    async def _admitted(self, job: Job) -> Result:
        """Run a job; further parts wait for a busy server."""
        while True:
            try:
                return await self.service.pool.run(job, self._client)
            except Busy:
                if not job.reading.row or asyncio.get_running_loop().time() > job.end:
                    raise
                await asyncio.sleep(_AGAIN)


def content_of(result: Result) -> Content:
    """Return the content of a result."""
    content: Content = result.error.content if isinstance(result.error, Settled) else result.value
    return content


class ImageHandler(Reader):
    """`POST /api/jp2`, with the contract of the old service; and GET."""

    route = "image"

    async def post(self) -> None:
        """Read an image."""
        root, request = parse_body(self.check_body(), self.service.settings.roots)
        await self.run(self._answer(root, request, Reading(has_times=True)))

    async def get(self) -> None:
        """Read an image, for caches."""
        root, request = parse_query(self.query(), self.service.settings.roots)
        known = self.request.headers.get("If-None-Match", "")
        await self.run(self._answer(root, request, Reading(if_none_match=known)))

    async def _answer(self, root: Root, request: Request, reading: Reading) -> None:
        headers = self.request.headers
        self.notes |= {"Path": redact(request.path), "rlevel": request.rlevel, "root": root.name}
        self._type = self.notes["type"] = type_for(headers.get("Accept", "*/*"))
        compress, most = accepts_gzip(headers.get("Accept-Encoding", "")), self.service.settings.limits.pixels
        reading = replace(reading, suffix=TYPES[self._type], compress=compress, most=most)
        parts = [await self.read(root, request, reading)]
        self._tell(parts[0], is_cached=self.request.method == "GET")
        if isinstance(parts[0].error, Settled):
            self.set_status(304)
            await self.finish()
        elif content_of(parts[0]).samples is None:
            self.respond(content_of(parts[0]).data, self._type)
        else:
            await self._send_parts(root, request, reading, parts)

    async def _send_parts(self, root: Root, request: Request, reading: Reading, parts: list[Result]) -> None:
        """Send a response in parts; after an error, cut it."""
        self.begin(self._type)
        try:
            await self._send_all(root, request, reading, parts)
        except Exception as error:  # noqa: BLE001  # the response must not look complete
            if isinstance(error, Jp2BatchError):
                self.notes |= {"error": type(error).__name__, "detail": redact(str(error))}
            else:
                self.log_exception(type(error), error, error.__traceback__)
            self.cut()
            raise Finish from None
        await self.finish()

    async def _send_all(self, root: Root, request: Request, reading: Reading, parts: list[Result]) -> None:
        """Send the first part, then read and send the others.

        `parts` has a single part: no two are in memory.
        """
        suffix, shape, times = reading.suffix, content_of(parts[0]).shape, (0.0, 0.0)
        send = functools.partial(self._send_piece, zlib.compressobj(GZIP_LEVEL, wbits=31) if reading.compress else None)
        await send(head_of(suffix, shape, np.dtype(str(parts[0].dtype))))
        while parts:
            for piece in slices_of(suffix, parts[0].value.samples, first=not reading.row):
                await send(piece)
            if (stats := parts[0].stats) is not None:
                times = times[0] + stats.time_download, times[1] + stats.time_processing
            row, version = parts[0].value.next_row, parts[0].value.version
            parts.clear()
            if row is not None:
                reading = replace(reading, row=row, version=version)
                parts.append(await self.read(root, request, reading))
        await send(tail_of(suffix, shape, times if reading.has_times else None), ends=True)

    async def _send_piece(self, compressor: "zlib._Compress | None", piece: bytes, *, ends: bool = False) -> None:
        if compressor is not None:
            piece = await asyncio.to_thread(compressor.compress, piece)
            piece += compressor.flush() if ends else b""
        if piece:
            await self.send(piece)

    def _tell(self, result: Result, *, is_cached: bool) -> None:
        """Set headers and log fields; the body has no room for them."""
        settings, content = self.service.settings, content_of(result)
        if content.encoding:
            self.set_header("Content-Encoding", content.encoding)
        self.set_header("Vary", "Accept, Accept-Encoding" + (", Origin" if settings.cors_origins else ""))
        if is_cached:
            self.set_header("Cache-Control", settings.cache_control)
            if content.etag:
                self.set_header("ETag", content.etag)
        stats = result.stats
        if stats is None:
            return
        if result.shape is not None:  # else 304
            *bands, rows, columns = result.shape
            self.set_header("Jp2-Shape", ", ".join(map(str, content.shape or (rows, columns, *bands))))
        self.set_header("Jp2-Bytes-Read", str(stats.bytes_read))
        self.set_header("Jp2-File-Size", str(result.size))
        download, processing = stats.time_download, stats.time_processing
        self.set_header("Server-Timing", f"download;dur={download * 1e3:.1f}, processing;dur={processing * 1e3:.1f}")
        self.notes |= {
            "bytes_read": stats.bytes_read,
            "time_download": round(download, 6),
            "time_processing": round(processing, 6),
            "attempts": result.attempts,
        }


class DescriptionHandler(Reader):
    """`GET /api/jp2/info` and `/plan`: properties of an image, cost of a read."""

    route = "description"

    async def get(self) -> None:
        """Describe an image or a read."""
        root, request = parse_query(self.query(), self.service.settings.roots)
        describe = describe_plan if self.request.path.endswith("plan") else describe_image
        await self.run(self._answer(root, request, Reading(describe=describe)))

    async def _answer(self, root: Root, request: Request, reading: Reading) -> None:
        self.notes |= {"Path": redact(request.path), "rlevel": request.rlevel, "root": root.name}
        self.respond(content_of(await self.read(root, request, reading)).data, "application/json")


class BatchHandler(Reader):
    """`POST /api/jp2/batch`: many requests, a line for each as it is done."""

    route = "batch"

    async def post(self) -> None:
        """Read images, as many at once as the workers have places."""
        bodies = parse_batch(self.check_body())
        self.begin("application/x-ndjson")
        places = asyncio.Semaphore(max(1, self.service.pool.places))

        async def lines() -> None:
            await asyncio.gather(*(self._line(number, body, places) for number, body in enumerate(bodies)))

        await self.run(lines())
        await self.finish()

    async def _line(self, number: int, body: object, places: asyncio.Semaphore) -> None:
        async with places:
            try:
                root, request = parse_values(body, self.service.settings.roots)
                most = min(self.service.settings.limits.pixels, MOST_AT_ONCE)
                answer = content_of(await self.read(root, request, Reading(has_times=True, most=most))).data
                head = {"index": number, "status": 200}
            except Exception as error:  # noqa: BLE001  # a line for each request
                self.log_exception(type(error), error, error.__traceback__)
                problem = problem_of(error)
                answer = orjson.dumps(problem.body(self.id))
                head = {"index": number, "status": problem.status}
            name = b"answer" if head["status"] == 200 else b"problem"
            await self.send(b'%s,"%s":%s}\n' % (orjson.dumps(head)[:-1], name, answer))
