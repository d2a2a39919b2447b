"""Make sample products and a manifest, read them, draw a contact sheet."""

import importlib.util
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np

from jp2batch.batch.manifest.write import write_manifest
from jp2batch.batch.report import BatchReport
from jp2batch.batch.run import run
from jp2batch.compute.cluster import local_cluster
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.location import Location
from jp2batch.core.request import Request
from jp2batch.image.preview import as_png, contact_sheet
from jp2batch.sample.landscape import DATE
from jp2batch.sample.product import make_product

BANDS = ("B02", "B03", "B04", "B08")
"""Bands of the demo."""
DATES = (DATE, DATE + timedelta(days=10))
"""Dates of the demo: same orbit, same ground, other clouds."""
MANIFEST, SHEET = "manifest.csv", "contact-sheet.png"

_RLEVEL = 1
_NOTE, _MADE_BY = "README.txt", "Made by `jp2batch demo`, which writes it anew when it is run again.\n"


@dataclass(frozen=True)
class Demo:
    """Files and report of a demo."""

    folder: Path
    """Folder of all files of the demo."""
    report: BatchReport
    """Report of the batch."""

    @property
    def manifest(self) -> Path:
        """Path of the manifest, whose own paths are relative to the folder."""
        return self.folder / MANIFEST

    @property
    def sheet(self) -> Path:
        """Path of the contact sheet of all images."""
        return self.folder / SHEET

    def __str__(self) -> str:
        image, manifest, root = self.report.results[-1].request.url, str(self.manifest), str(self.folder)
        return (
            f"{self.report}\nmanifest  {manifest}\npicture   {self.sheet}\n\n"
            "Next, a part of an image in full resolution; and the batch again in a notebook:\n"
            f"  jp2batch read {shlex.quote(image)} --rlevel 0 --window 300:800,300:800 -o part.png\n"
            f"  import jp2batch; requests = jp2batch.read_manifest({manifest!r}, root={root!r})\n"
            "  jp2batch.run(requests).to_dataframe()"
        )


def run_demo(folder: str | Path, *, size: int = 1098, say: Callable[[str], object] = lambda _: None) -> Demo:
    """Make sample images and read them as a batch.

    The batch runs on a cluster of local processes; a contact sheet shows its results.

    Parameters
    ----------
    folder : path
        A new or empty folder, or the folder of an earlier demo. Files of the same names are overwritten with the same
        content; other files stay.
    size : int
        Width and height of the images in pixels, a multiple of 6.
    say : callable, optional
        Called with a line of text at each step.

    Raises
    ------
    InvalidRequest
        The folder holds other files, or is not a folder.
    Jp2BatchError
        An image could not be read.
    """
    if Location.of(folder).is_url:
        raise InvalidRequest(str(folder), "the demo writes to local folders only", "give a path")
    folder = Path(Location.of(folder).expanded.text)
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
        say(f"reading {len(requests)} images; dashboard until the end: {client.dashboard_link}{need}")
        report = run(requests, client, "xarray", on_error="raise")
    (folder / SHEET).write_bytes(_sheet(report))
    return Demo(folder, report)


def _claim(folder: Path) -> None:
    """Create and mark the folder; refuse a folder with other files."""
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
    return as_png(contact_sheet(images, titles, columns=len(BANDS), nodata=0))
