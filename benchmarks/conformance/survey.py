"""All readers on all layouts: made, read, and judged."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.conformance.canvas import LARGE_SIZE, Canvas
from benchmarks.conformance.child import View, outcomes
from benchmarks.conformance.layouts import Group, Layout
from benchmarks.conformance.peers import PEERS
from benchmarks.conformance.truth import truth_of
from benchmarks.conformance.verdicts import Verdict, judge
from benchmarks.fresh import in_fresh_process
from benchmarks.server import Link, serving

VIEWS = ("full", "lowest", "window")
"""Views of local files."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """The remote read of a window."""

    verdict: Verdict
    requests: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Row:
    """The results of a layout."""

    layout: Layout
    size: int
    """Bytes of the file; 0: nothing here can make it."""
    verdicts: Mapping[str, Mapping[str, Verdict]]
    """Verdicts by reader and view."""
    large: int
    """Bytes of the remote file; 0: it is not read."""
    transfers: Mapping[str, Transfer]
    """Remote reads by reader."""


def survey(
    groups: Sequence[Group],
    canvas: Canvas,
    readers: Sequence[str],
    *,
    remote: bool = True,
    jobs: int = 2,
) -> Iterator[Row]:
    """Iterate over the results of layouts, in their order."""
    layouts = [(layout, remote and group.remote) for group in groups for layout in group.layouts]
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda pair: _row(pair[0], canvas, readers, remote=pair[1]), layouts)


def local_readers(readers: Sequence[str]) -> list[str]:
    """Return the readers of local files, in their order."""
    return [reader for reader in readers if "full" in PEERS[reader].offers]


def _row(layout: Layout, canvas: Canvas, readers: Sequence[str], *, remote: bool) -> Row:
    """Make a file, read it with all readers, and judge them."""
    with TemporaryDirectory(prefix="jp2batch-layout-") as folder:
        path = Path(folder, f"image{layout.suffix}")
        try:
            path.write_bytes(layout.make(canvas))
        except ImportError:
            return Row(layout, 0, {}, 0, {})
        before = layout.intact(canvas) if layout.intact else None
        truth = in_fresh_process(truth_of, path.read_bytes(), before)
        window = truth.window(canvas.scale)
        views = [View("full", 0, None), View("lowest", truth.lowest, None), View("window", 0, window)]
        verdicts = {}
        for reader in local_readers(readers):
            found = outcomes(reader, str(path), views)
            pairs = zip(views, found, strict=True)
            verdicts[reader] = {v.name: judge(outcome, truth.view(v.rlevel, v.window)) for v, outcome in pairs}
        size = path.stat().st_size
    if not remote:
        return Row(layout, size, verdicts, 0, {})
    large, transfers = _transfers(layout, Canvas(LARGE_SIZE, scale=2), readers)
    return Row(layout, size, verdicts, large, transfers)


def _transfers(layout: Layout, canvas: Canvas, readers: Sequence[str]) -> tuple[int, dict[str, Transfer]]:
    """Read a window of a larger image from a web server, and count; return the bytes of the file, too."""
    found = {}
    with TemporaryDirectory(prefix="jp2batch-layout-") as folder:
        path = Path(folder, f"image{layout.suffix}")
        path.write_bytes(layout.make(canvas))
        before = layout.intact(canvas) if layout.intact else None
        truth = in_fresh_process(truth_of, path.read_bytes(), before, True)
        view = View("remote", 0, truth.window(canvas.scale))
        with serving(path.parent, Link()) as server:
            for reader in (reader for reader in readers if "remote" in PEERS[reader].offers and PEERS[reader].version):
                before_it = server.counts()
                (outcome,) = outcomes(reader, server.url(path), [view])
                counts = server.counts().since(before_it)
                found[reader] = Transfer(judge(outcome, truth.view(0, view.window)), counts.requests, counts.bytes)
        return path.stat().st_size, found
