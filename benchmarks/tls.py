"""Read overviews over https and over http, in the same run, cold.

CPU is the processor time of the client: handshakes, requests and decoding.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.remote_reads import GDAL, JP2BATCH, LINK, LOWEST, Case, Way, read_of
from benchmarks.server import serving
from benchmarks.setting import Setting
from benchmarks.table import DEMANDED, Demand, Table, cells_of, megabytes, seconds, times
from benchmarks.timed import Taken, in_turns
from benchmarks.tls_relay import make_certificate, with_tls

_ROUNDS = 9
_MOST = 1.3  # CPU over https, relative to http


def measure(setting: Setting) -> Table:
    """Measure overviews with and without TLS."""
    ways = [Way(JP2BATCH, tlm=True), Way(JP2BATCH), Way(GDAL, tlm=True)]
    case = Case("overview", LOWEST, None, ways)
    with tempfile.TemporaryDirectory() as folder, serving(setting.folder, LINK) as server:
        certificate = make_certificate(Path(folder))
        with _trusting(certificate), with_tls(server.address, certificate, LINK.latency) as address:
            plain = [read_of(case, way, setting.scene, server) for way in ways]
            secure = [replace(read, path=read.path.replace(server.address, address)) for read in plain]
            trusted = {"GDAL_CURL_CA_BUNDLE": str(certificate)}
            secure = [replace(read, options=trusted) if read.reader == GDAL else read for read in secure]
            rounds = 1 if setting.quick else _ROUNDS
            taken = in_turns([*plain, *secure], rounds, str(setting.warm_up))
    rows, demands = list[Sequence[str]](), list[Demand]()
    for way, http, https in zip(ways, taken[: len(ways)], taken[len(ways) :], strict=True):
        ratio = https.cpu / http.cpu
        demand = Demand(f"CPU over https, {way.label}", ratio, "≤", _MOST) if way.reader == JP2BATCH else None
        demands += [] if demand is None else [demand]
        rows.append((way.label, *_figures(http), *_figures(https), times(ratio), cells_of(demand)[0]))
    figures = [f"{scheme}: {name}" for scheme in ("http", "https") for name in ("time", "CPU", "requests", "MB")]
    note = f"Over {LINK}; a new connection with TLS waits for 2 more round trips. Medians of {_ROUNDS}."
    return Table(("cold overview", *figures, "CPU of http's", DEMANDED[0]), rows, [note], demands)


def _figures(one: Taken) -> tuple[str, ...]:
    return seconds(one.seconds), f"{one.cpu * 1000:.0f} ms", str(one.counts.requests), megabytes(one.counts.bytes)


@contextmanager
def _trusting(certificate: Path) -> Iterator[None]:
    """Let Python trust a certificate in processes started in a `with` block."""
    before = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = str(certificate)
    try:
        yield
    finally:
        os.environ.pop("SSL_CERT_FILE")
        os.environ.update({} if before is None else {"SSL_CERT_FILE": before})
