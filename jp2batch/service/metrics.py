"""Counters of the server, for Prometheus."""

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
"""Media type of the metrics."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters of a server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def seconds(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(f"jp2batch_{name}_seconds", text, labels, registry=registry, buckets=_SECONDS)

        def count(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"jp2batch_{name}", text, labels, registry=registry)

        self._requests = count("requests", "Requests answered.", "route", "status")
        self._latency = seconds("request", "From the headers of a request to the end of its response.", "route")
        self._sent = count("sent_bytes", "Bytes of response bodies.")
        self._fetched = count("fetched_bytes", "Bytes fetched from stores.")
        self._files = count("file_bytes", "Size of the files read, in bytes.")
        self._asked = count("store_requests", "Requests to stores.")
        self._download = seconds("download", "Seconds waiting for the store, per image.")
        self._decode = seconds("decode", "Seconds planning, assembling and decoding, per image.")
        self.dropped = count("answers_dropped", "Responses not read by clients.")
        """Responses not read by their clients."""
        self.lost = count("workers_lost", "Workers that died.")
        """Dead workers."""

    def gauge(self, name: str, text: str, value: Callable[[], int]) -> None:
        """Add a gauge, with a function for its value."""
        Gauge(f"jp2batch_{name}", text, registry=self._registry).set_function(value)

    def answered(self, route: str, status: int, seconds: float, size: int) -> None:
        """Count a response."""
        self._requests.labels(route, str(status)).inc()
        self._latency.labels(route).observe(seconds)
        self._sent.inc(size)

    def read(self, result: Result) -> None:
        """Count the statistics of a read."""
        if result.stats is None:
            return
        self._fetched.inc(result.stats.bytes_read)
        self._files.inc(result.size)
        self._asked.inc(result.stats.requests)
        self._download.observe(result.stats.time_download)
        if result.error is None:
            self._decode.observe(result.stats.time_processing)

    def text(self) -> bytes:
        """Return all counters as text."""
        return generate_latest(self._registry)
