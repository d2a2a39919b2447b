"""Read many overviews from a store that stalls a few of its replies.

A process reads one after the other, each of another image. Late requests are repeated beside themselves, or not.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.fresh import in_fresh_process
from benchmarks.readers import import_all
from benchmarks.remote_reads import LINK, LOWEST, expected
from benchmarks.server import serving
from benchmarks.setting import Setting
from benchmarks.table import DEMANDED, Demand, Table, cells_of, seconds, times
from benchmarks.timed import digest

_OVERVIEWS = 200
_FEW = 10  # overviews without hedges, each of which takes as long as a stall
_BEFORE = 3  # overviews to learn the store's usual times from
_STALLED, _STALL = 0.02, 10.0  # share of replies; seconds
_MOST_LATE, _MOST_REQUESTS = 2.0, 1.05  # p99 beside the median; requests beside those without stalls


def measure(setting: Setting) -> Table:
    """Measure the times of overviews without stalls, with stalls, and with hedged requests."""
    many, few = (20, 3) if setting.quick else (_OVERVIEWS, _FEW)
    stalling = replace(LINK, stalled=_STALLED, stall=2.0 if setting.quick else _STALL)
    rows: list[Sequence[str]] = []
    demands: list[Demand] = []
    usual = 0.0
    for label, link, hedged, count in (
        ("no stalls", LINK, 0.05, many),
        ("stalls, hedged", stalling, 0.05, many),
        ("stalls, not hedged", stalling, 0.0, few),
    ):
        copies = setting.scene.copies(_BEFORE + many, tlm=True)[: _BEFORE + count]
        wanted = digest(expected(setting.scene, LOWEST, None))
        with serving(setting.folder, link) as server:
            urls = [server.url(path) for path in copies]
            taken = sorted(in_fresh_process(by_jp2batch, str(setting.warm_up), urls, hedged, wanted))
            requests = server.counts().requests / len(urls)
        median, p99 = taken[len(taken) // 2], taken[int(len(taken) * 0.99)]
        usual = usual or requests
        told = list[Demand]()
        if link is stalling and hedged:
            told = [
                Demand(f"{label}: p99 beside the median", p99 / median, "≤", _MOST_LATE),
                Demand(f"{label}: requests", requests / usual, "≤", _MOST_REQUESTS),
            ]
        demands += told
        figures = str(count), seconds(median), seconds(p99), times(p99 / median), f"{requests:.1f}"
        rows.append((label, *figures, times(requests / usual), *cells_of(*told)))
    head = (
        "replies",
        "overviews",
        "median",
        "p99",
        "p99 / median",
        "requests each",
        "of those without stalls",
        *DEMANDED,
    )
    note = f"Over {LINK}; {_STALLED:.0%} of replies are {stalling.stall:g} s late. TLM, images not known."
    return Table(head, rows, [note], demands).without_empty_columns()


def by_jp2batch(warm_up: str, urls: Sequence[str], hedged: float, wanted: str) -> list[float]:
    """Return the seconds of each overview but the first few."""
    import dask

    import jp2batch

    import_all()
    jp2batch.read(warm_up)
    taken = []
    with dask.config.set({"jp2batch.retries.hedged": hedged}):
        for url in urls:
            begin = time.perf_counter()
            pixels = jp2batch.read(url, LOWEST).values
            taken.append(time.perf_counter() - begin)
            assert digest(pixels) == wanted, "other pixels than it should"
    return taken[_BEFORE:]
