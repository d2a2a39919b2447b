"""Measure overviews by latency of the store and by number of images; plot them."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.batch_throughput import Way as BatchWay
from benchmarks.batch_throughput import by_jp2batch, naively, run, with_gdal
from benchmarks.fresh import in_fresh_process
from benchmarks.remote_reads import GDAL, JP2BATCH, LINK, LOWEST, WHOLE, Case, Way, expected, read_of
from benchmarks.server import serving
from benchmarks.setting import Setting
from benchmarks.table import Table, seconds
from benchmarks.timed import digest, in_turns

_LATENCIES = (0.005, 0.03, 0.1)
_COUNTS = (1, 4, 16)
_WAYS = (
    Way(GDAL),
    Way(GDAL, tlm=True),
    Way(WHOLE),
    Way(JP2BATCH),
    Way(JP2BATCH, tlm=True),
    Way(JP2BATCH, known=True),
)
_COLOURS = {"GDAL": "#c44e52", "whole": "#8c8c8c", "jp2batch": "#2a6fbb"}
_DASHES = {", TLM": "--", "known": ":"}


def latency(setting: Setting) -> Table:
    """Measure an overview over links of several latencies."""
    times: dict[str, list[float]] = {way.label: [] for way in _WAYS}
    case = Case("overview", LOWEST, None, _WAYS)
    latencies, scene = _LATENCIES[:1] if setting.quick else _LATENCIES, setting.scene_of("uneven")
    for delay in latencies:
        with serving(setting.folder, replace(LINK, latency=delay)) as server:
            reads = [read_of(case, way, scene, server) for way in _WAYS]
            for way, taken in zip(_WAYS, in_turns(reads, setting.few_rounds, str(setting.warm_up)), strict=True):
                times[way.label].append(taken.seconds)
    axis = [delay * 1000 for delay in latencies]
    _plot(setting.figures / "time-by-latency.png", axis, times, "latency of a request, ms", "One overview, 10 m band")
    note = f"{LINK.bandwidth / 1e6:g} MB/s a connection. Medians of {setting.few_rounds}."
    heads = [f"{delay:g} ms" for delay in axis]
    return _table(
        "overview", heads, times, note, "![Seconds of an overview by latency](../docs/images/time-by-latency.png)"
    )


def images(setting: Setting) -> Table:
    """Measure overviews of several images on a cluster of two processes."""
    counts = _COUNTS[:1] if setting.quick else _COUNTS
    ways: dict[str, tuple[BatchWay, bool]] = {
        "dask.delayed: GDAL /vsicurl, TLM": (with_gdal, True),
        "dask.delayed: whole file, then glymur": (naively, True),
        "jp2batch.run": (by_jp2batch, False),
        "jp2batch.run, TLM": (by_jp2batch, True),
    }
    times: dict[str, list[float]] = {label: [] for label in ways}
    scene = setting.scene_of("uneven")
    wanted = digest(expected(scene, LOWEST, None))
    with serving(setting.folder, LINK) as server:
        for count in counts:
            for label, (way, tlm) in ways.items():
                urls = [server.url(path) for path in scene.copies(count, tlm=tlm)]
                taken = []
                for _ in range(setting.few_rounds):
                    took, found = in_fresh_process(run, way, str(setting.warm_up), urls)
                    assert found == [wanted] * count, f"{label} gives other pixels than it should"
                    taken.append(took)
                times[label].append(statistics.median(taken))
    _plot(setting.figures / "time-by-images.png", counts, times, "overviews", "Many overviews, two worker processes")
    note = f"Over {LINK}. Medians of {setting.few_rounds}."
    picture = "![Seconds of many overviews by their number](../docs/images/time-by-images.png)"
    return _table("2 workers", [str(count) for count in counts], times, note, picture)


def _table(first: str, heads: Sequence[str], times: Mapping[str, Sequence[float]], *notes: str) -> Table:
    rows = [(label, *map(seconds, values)) for label, values in times.items()]
    return Table((first, *heads), rows, notes)


def _plot(path: Path, axis: Sequence[float], times: Mapping[str, Sequence[float]], unit: str, title: str) -> None:
    """Draw times, both axes logarithmic, each line with its name at its end."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.2), dpi=130, layout="constrained")
    axes: Any = figure.add_subplot()
    for label, values in times.items():
        colour = next(value for name, value in _COLOURS.items() if name in label)
        dashes = next((value for name, value in _DASHES.items() if name in label), "-")
        axes.plot(axis, values, dashes, color=colour, marker="o", markersize=4, label=label)
    axes.set(xscale="log", yscale="log", xlabel=unit, ylabel="seconds", title=title)
    axes.set_xticks(axis, [f"{value:g}" for value in axis])
    axes.minorticks_off()
    ticks = [tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if _within(tick, times)]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    figure.savefig(path)


def _within(tick: float, times: Mapping[str, Sequence[float]]) -> bool:
    found = [value for values in times.values() for value in values]
    return min(found) / 2 <= tick <= max(found) * 2
