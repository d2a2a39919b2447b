"""The whole thing on images that it makes itself: products, a manifest, a batch on a cluster, a contact sheet."""

import importlib.util
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np

from jp2batch.batch.manifest.read import write_manifest
from jp2batch.batch.report import BatchReport
from jp2batch.batch.run import run
from jp2batch.compute.cluster import local_cluster
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.request import Request
from jp2batch.image.preview import contact_sheet
from jp2batch.sample.landscape import DATE
from jp2batch.sample.product import make_product

BANDS = ("B02", "B03", "B04", "B08")
"""Its bands."""
DATES = (DATE, DATE + timedelta(days=10))
"""Its dates: one orbit of the satellite apart, after which it sees the same again, but for the clouds."""
MANIFEST, SHEET = "manifest.csv", "contact-sheet.png"

_RLEVEL = 1
_NOTE, _MADE_BY = "README.txt", "Made by `jp2batch demo`, which writes it anew when it is run again.\n"


@dataclass(frozen=True)
class Demo:
    """What the demo has made."""

    folder: Path
    """Where it lies."""
    report: BatchReport
    """What became of the requests of its manifest."""

    @property
    def manifest(self) -> Path:
        """Its manifest, whose paths are below the folder."""
        return self.folder / MANIFEST

    @property
    def sheet(self) -> Path:
        """The picture of all its images."""
        return self.folder / SHEET

    def __str__(self) -> str:
        image, manifest, root = self.report.results[-1].request.url, str(self.manifest), str(self.folder)
        return (
            f"{self.report}\nmanifest  {manifest}\npicture   {self.sheet}\n\n"
            "Next, a part of one image in full resolution; and, in a notebook, the batch again:\n"
            f"  jp2batch read {shlex.quote(image)} --rlevel 0 --window 300:800,300:800 -o part.png\n"
            f"  import jp2batch; requests = jp2batch.read_manifest({manifest!r}, root={root!r})\n"
            "  jp2batch.run(requests).to_dataframe()"
        )


def run_demo(folder: str | Path, *, size: int = 1098, say: Callable[[str], object] = lambda _: None) -> Demo:
    """Make two dates of four bands, and read them as a batch on a cluster of local processes.

    Parameters
    ----------
    folder : path
        Where to put everything: a new or empty folder, or one of an earlier demo. There, files of the same names are
        overwritten, by the same content; others stay.
    size : int
        Pixels a side of the images, a multiple of 6.
    say : callable, optional
        Is told, in a line each, what goes on.

    Raises
    ------
    InvalidRequest
        The folder holds other things, or is none.
    Jp2BatchError
        An image could not be read.
    """
    if "://" in str(folder):
        raise InvalidRequest(str(folder), "the demo writes to local folders only", "give a path")
    folder = Path(folder)
    _claim(folder)
    requests: list[Request] = []
    for date in DATES:
        say(f"making {len(BANDS)} bands of {date:%Y-%m-%d}, {size} x {size}")
        product = make_product(folder, date=date, bands=BANDS, size=size)
        paths = [next(product.glob(f"GRANULE/*/IMG_DATA/R10m/*_{band}_10m.jp2")) for band in BANDS]
        for band, path in zip(BANDS, paths, strict=True):
            columns = (("band", band), ("date", f"{date:%Y-%m-%d}"))
            place = path.relative_to(folder).as_posix()
            requests.append(Request(place, _RLEVEL, root=str(folder), id=f"{date:%Y%m%d}_{band}", columns=columns))
    write_manifest(requests, folder / MANIFEST)
    say("starting a cluster of local processes")
    with local_cluster() as client:
        need = "" if importlib.util.find_spec("bokeh") else " (it needs: pip install bokeh)"
        say(f"reading {len(requests)} images; dashboard, as long as that takes: {client.dashboard_link}{need}")
        report = run(requests, client, "xarray", on_error="raise")
    (folder / SHEET).write_bytes(_sheet(report))
    return Demo(folder, report)


def _claim(folder: Path) -> None:
    """Make the folder the demo's, unless it holds what may be dear to somebody."""
    note = folder / _NOTE
    if folder.exists() and not folder.is_dir():
        raise InvalidRequest(str(folder), "this is a file", "give a new folder")
    ours = note.is_file() and note.read_bytes().startswith(_MADE_BY.rstrip().encode())
    if folder.exists() and not ours and any(folder.iterdir()):
        raise InvalidRequest(str(folder), "the folder holds other things than a demo", "give a new or empty one")
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(_MADE_BY, encoding="utf-8")


def _sheet(report: BatchReport) -> bytes:
    images: Sequence[np.ndarray] = [result.value.values[np.newaxis] for result in report]
    titles = ["{band} · {date}".format(**dict(result.request.columns)) for result in report]
    return contact_sheet(images, titles, columns=len(BANDS), nodata=0)
