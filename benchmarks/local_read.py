"""A whole band of 10980 x 10980 in full resolution from a local file: decoding alone, on two cores."""

from benchmarks.remote_reads import GDAL, JP2BATCH, expected
from benchmarks.setting import Setting
from benchmarks.table import Table, seconds, times
from benchmarks.timed import Read, digest, in_turns

_THREADS = 2


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
    rows = [
        (label, seconds(one.seconds), times(one.seconds / taken[0].seconds), f"{one.memory / 1e6:.0f}")
        for label, one in zip(readers, taken, strict=True)
    ]
    sizes = scene.plain.stat().st_size / 1e6, scene.size**2 * 2 / 1e6
    note = f"Of the memory, the result takes {sizes[1]:.0f} MB; the file has {sizes[0]:.0f} MB."
    return Table((f"full {scene.size}²", "time", "of GDAL's time", "peak memory beyond imports, MB"), rows, [note])
