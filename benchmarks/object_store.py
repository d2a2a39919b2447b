"""Read overviews and windows from SeaweedFS on loopback: only the costs of requests.

With GDAL, and with jp2batch and each of its drivers, without fallback to another driver.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.fresh import in_fresh_process
from benchmarks.remote_reads import GDAL, JP2BATCH, expected, usual_window, what_is_known
from benchmarks.seaweedfs import S3_KEY, S3_SECRET, S3Server, seaweedfs
from benchmarks.setting import Setting
from benchmarks.table import Table, seconds, times
from benchmarks.timed import Read, digest, in_turns
from jp2batch.core.ranges import ByteRange
from jp2batch.core.window import Window
from jp2batch.storage.source import open_source

_DRIVERS = {"fsspec": "jp2batch, s3fs", "obstore": "jp2batch, obstore"}
_SMALL, _MANY = 8_192, 100  # bytes of the requests whose computing is told, and how many there are at once


def measure(setting: Setting) -> Table:
    """Measure reads of the S3 protocol."""
    scene = setting.scene_of("uneven")
    window = usual_window(scene.size, "uneven")
    side = window.rows.size
    cases: dict[str, tuple[bool, int, Window | None, bool]] = {
        "overview, TLM": (True, 4, None, False),
        "overview, no TLM": (False, 4, None, False),
        "overview, known": (True, 4, None, True),
        f"window {side}², TLM": (True, 0, window, False),
        f"window {side}², known": (True, 0, window, True),
    }
    with tempfile.TemporaryDirectory(prefix="seaweedfs-") as folder, seaweedfs(Path(folder)) as server:
        urls = {path: server.put(path.name, path.read_bytes()) for path in (scene.tlm, scene.plain)}
        reads = [
            Read(
                reader,
                urls[scene.tlm if tlm else scene.plain],
                rlevel,
                part,
                digest(expected(scene, rlevel, part)),
                options_of(reader, server),
                what_is_known(reader, rlevel, scene.size) if known else None,
                configuration={"jp2batch.driver": driver} if driver else {},
            )
            for tlm, rlevel, part, known in cases.values()
            for reader, driver in ((GDAL, ""), *((JP2BATCH, driver) for driver in _DRIVERS))
        ]
        taken = iter(in_turns(reads, setting.few_rounds, str(setting.warm_up)))
        computing = {
            driver: statistics.median(
                in_fresh_process(seconds_a_request, urls[scene.plain], server.options, driver)
                for _ in range(setting.rounds)
            )
            for driver in _DRIVERS
        }
    rows = []
    for title in cases:
        gdal = next(taken)
        rows.append((title, "GDAL /vsis3", seconds(gdal.seconds), "–"))
        for label in _DRIVERS.values():
            ours = next(taken)
            rows.append(("", label, seconds(ours.seconds), times(gdal.seconds / ours.seconds)))
    told = "; ".join(f"{_DRIVERS[driver]} {took * 1e3:.2f} ms" for driver, took in computing.items())
    cost = f"What one request of {_SMALL >> 10} KiB, of {_MANY} at once, takes of the client's processors: {told}."
    note = (
        "Known: by the same process, which has read another part of the file before. Otherwise the driver makes its "
        "client within the time, once in a process."
    )
    return Table(("read", "with", "time", "faster than GDAL by"), rows, [cost, note])


def seconds_a_request(url: str, options: dict[str, Any], driver: str) -> float:
    """Return the processor time of a small request with a driver, in seconds."""
    import dask

    with dask.config.set({"jp2batch.driver": driver}):
        source = open_source(url, storage_options=options)
        source.read_many([ByteRange(0, _SMALL)])
        starts = range(0, (source.size or 0) - _SMALL, 2 * _SMALL)[:_MANY]
        ranges = [ByteRange(start, start + _SMALL) for start in starts]
        source.read_many(ranges)  # connections are made, once
        begin, asked = time.process_time(), source.meter.requests
        for _ in range(5):
            source.read_many(ranges)
        return (time.process_time() - begin) / (source.meter.requests - asked)


def options_of(reader: str, server: S3Server) -> dict[str, Any]:
    """Return the options of a reader for the store."""
    if reader == JP2BATCH:
        return server.options
    return {
        "AWS_S3_ENDPOINT": server.endpoint.removeprefix("http://"),
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "AWS_ACCESS_KEY_ID": S3_KEY,
        "AWS_SECRET_ACCESS_KEY": S3_SECRET,
    }
