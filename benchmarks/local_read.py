"""Read a whole full-resolution band from a local file: decoding alone."""

from benchmarks.remote_reads import GDAL, JP2BATCH, expected
from benchmarks.setting import Setting
from benchmarks.table import DEMANDED, Demand, Table, cells_of, seconds, times
from benchmarks.timed import Read, digest, in_turns

_THREADS = 2
_MORE = 60  # megabytes beyond file and result


def measure(setting: Setting) -> Table:
    """Measure time and memory of a whole image."""
    scene = setting.scene
    wanted = digest(expected(scene, 0, None))
    configuration = {"jp2batch.threads": _THREADS}
    readers = {f"GDAL, {_THREADS} threads": GDAL, f"jp2batch, {_THREADS} threads": JP2BATCH}
    reads = [
        Read(reader, str(scene.plain), 0, None, wanted, configuration=configuration) for reader in readers.values()
    ]
    taken = in_turns(reads, setting.rounds, str(setting.warm_up))
    gdal, ours = taken
    file, result = scene.plain.stat().st_size / 1e6, scene.size**2 * 2 / 1e6
    demands = [
        Demand("time beside that of GDAL", ours.seconds / gdal.seconds, "≤", 0.92),
        Demand("memory beyond imports", ours.memory / 1e6, "≤", round(file + result + _MORE), "MB"),
    ]
    rows = [
        (label, seconds(one.seconds), times(one.seconds / gdal.seconds), f"{one.memory / 1e6:.0f}", *cells_of(*told))
        for label, one, told in zip(readers, taken, ([], demands), strict=True)
    ]
    note = f"Of the memory, the result takes {result:.0f} MB; the file has {file:.0f} MB."
    head = (f"full {scene.size}²", "time", "of GDAL's time", "peak memory beyond imports, MB", *DEMANDED)
    return Table(head, rows, [note], demands).without_empty_columns()
