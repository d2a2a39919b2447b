"""Overviews and windows from a real S3 store on loopback, SeaweedFS: no distance, only what requests cost."""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.readers import Window
from benchmarks.remote_reads import GDAL, JP2BATCH, expected, usual_window, what_is_known
from benchmarks.seaweedfs import S3_KEY, S3_SECRET, S3Server, seaweedfs
from benchmarks.setting import Setting
from benchmarks.table import Table, seconds, times
from benchmarks.timed import Read, digest, in_turns

_LABELS = {GDAL: "GDAL /vsis3", JP2BATCH: "jp2batch, s3fs"}


def measure(setting: Setting) -> Table:
    """Measure reads of the S3 protocol."""
    scene = setting.scene
    window = usual_window(scene.size)
    side = window[0][1] - window[0][0]
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
            )
            for tlm, rlevel, part, known in cases.values()
            for reader in _LABELS
        ]
        taken = iter(in_turns(reads, setting.rounds, str(setting.warm_up)))
    rows = []
    for title in cases:
        gdal, ours = next(taken), next(taken)
        rows += [(title, _LABELS[GDAL], seconds(gdal.seconds), times(gdal.seconds / ours.seconds))]
        rows += [("", _LABELS[JP2BATCH], seconds(ours.seconds), "–")]
    note = (
        "Known: by the same process, which has read another part of the file before. Otherwise s3fs makes its client "
        "within the time, once in a process."
    )
    return Table(("read", "with", "time", "of jp2batch's time"), rows, [note])


def options_of(reader: str, server: S3Server) -> dict[str, Any]:
    """Return the options with which a reader finds the store."""
    if reader == JP2BATCH:
        return server.options
    return {
        "AWS_S3_ENDPOINT": server.endpoint.removeprefix("http://"),
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "AWS_ACCESS_KEY_ID": S3_KEY,
        "AWS_SECRET_ACCESS_KEY": S3_SECRET,
    }
