"""What the server counts, in the form that Prometheus reads."""

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from jp2batch.compute.result import Result

TYPE = CONTENT_TYPE_LATEST
"""Media type of the text."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counts of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def seconds(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(f"jp2batch_{name}_seconds", text, labels, registry=registry, buckets=_SECONDS)

        def count(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"jp2batch_{name}", text, labels, registry=registry)

        self._requests = count("requests", "Requests answered.", "route", "status")
        self._latency = seconds("request", "From the headers of a request to the end of its answer.", "route")
        self._sent = count("sent_bytes", "Bytes of the bodies of answers.")
        self._fetched = count("fetched_bytes", "Bytes fetched from stores.")
        self._files = count("file_bytes", "Bytes of the files that were read, had they been fetched whole.")
        self._asked = count("store_requests", "Requests to stores.")
        self._download = seconds("download", "Waiting for the store, for one image.")
        self._decode = seconds("decode", "Planning, assembling and decoding one image.")
        self._dropped = count("answers_dropped", "Answers that clients did not take.")
        self._lost = count("workers_lost", "Workers that died.")
        self._queue = Gauge("jp2batch_queue_length", "Requests that wait for a worker.", registry=registry)
        self._running = Gauge("jp2batch_requests_in_flight", "Requests on workers.", registry=registry)
        self._free = Gauge("jp2batch_free_places", "Requests that workers could take at once.", registry=registry)
        self._workers = Gauge("jp2batch_workers", "Workers that are ready.", registry=registry)

    def watch(
        self,
        *,
        queue: Callable[[], int],
        running: Callable[[], int],
        free: Callable[[], int],
        workers: Callable[[], int],
    ) -> None:
        """Take the values of gauges from functions."""
        self._queue.set_function(queue)
        self._running.set_function(running)
        self._free.set_function(free)
        self._workers.set_function(workers)

    def answered(self, route: str, status: int, seconds: float, size: int) -> None:
        """Count an answer."""
        self._requests.labels(route, str(status)).inc()
        self._latency.labels(route).observe(seconds)
        self._sent.inc(size)

    def read(self, result: Result) -> None:
        """Count what a read took."""
        if result.stats is None:
            return
        self._fetched.inc(result.stats.bytes_read)
        self._files.inc(result.size)
        self._asked.inc(result.stats.requests)
        self._download.observe(result.stats.time_download)
        if result.error is None:
            self._decode.observe(result.stats.time_processing)

    def answer_dropped(self) -> None:
        """Count an answer that its client did not take."""
        self._dropped.inc()

    def worker_lost(self) -> None:
        """Count a worker that died."""
        self._lost.inc()

    def text(self) -> bytes:
        """Return all counts."""
        return generate_latest(self._registry)
