"""Flags and exit codes shared by the commands."""

import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jp2batch.cli.storage_flags import StorageFlags
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.location import Location
from jp2batch.core.map_area import MapArea

if TYPE_CHECKING:
    from jp2batch.compute.engine import EngineOptions

Command = Callable[..., None]

FAILED, USAGE, NOT_STARTED, INTERRUPTED = 1, 2, 3, 130  # exit codes

_INLINE = re.compile(r"\s*(?:\{|[A-Za-z]+\s*[A-Za-z]*\s*\()")  # GeoJSON or WKT
_LARGEST_GEOMETRY = 100_000_000  # characters


def image_flags(command: Command) -> Command:
    """Add --rlevel and --window."""
    window = click.option("--window", metavar="R0:R1,C0:C1", help="Part to read, in pixels of the full image.")
    rlevel = click.option(
        "--rlevel", type=int, default=-1, show_default=True, help="Resolution levels to drop: 0 = full, -1 = lowest."
    )
    return rlevel(window(command))


def area_flags(command: Command) -> Command:
    """Add --bbox, --geometry, --crs, --resolution, --mask, collected as `area`."""

    @functools.wraps(command)
    def collected(
        *,
        bbox: str | None,
        geometry: str | None,
        crs: str | None,
        resolution: str | None,
        mask: bool,
        **others: object,
    ) -> None:
        shape = None if geometry is None else _geometry(geometry)
        command(area=MapArea.of(bbox, shape, crs, resolution, mask=mask), **others)

    flags = (
        click.option("--bbox", metavar="X0,Y0,X1,Y1", help="Part to read: a box in longitude and latitude."),
        click.option("--geometry", metavar="FILE|WKT", help="Part to read: GeoJSON or WKT; the rest is masked."),
        click.option("--crs", metavar="CODE", help="Reference system of --bbox and --geometry, e.g. EPSG:32629."),
        click.option("--resolution", metavar="METRES", help="Largest distance of samples, in place of --rlevel."),
        click.option("--mask/--no-mask", default=True, help="Whether samples outside the geometry become no data."),
    )
    return functools.reduce(lambda inner, flag: flag(inner), reversed(flags), collected)


def _geometry(text: str) -> str:
    """Return a geometry as text, given itself or in a file."""
    if _INLINE.match(text):
        return text
    try:
        with Path(Location.of(text).expanded.text).open(encoding="utf-8-sig") as file:
            content = file.read(_LARGEST_GEOMETRY + 1)
    except (OSError, ValueError):
        raise InvalidRequest("", "the file of --geometry cannot be read", "give GeoJSON or WKT, or its file") from None
    if len(content) > _LARGEST_GEOMETRY:
        hint = "give the fields needed, or simplify them"
        raise InvalidRequest(text, f"the geometry has more than {_LARGEST_GEOMETRY} characters", hint)
    return content


def scheduler_flags(command: Command) -> Command:
    """Add --scheduler and --scheduler-file, as the parameter `scheduler`."""

    @functools.wraps(command)
    def collected(*, scheduler: str | None, scheduler_file: str | None, **others: object) -> None:
        if scheduler and scheduler_file:
            raise InvalidRequest("", "--scheduler and --scheduler-file exclude each other", "leave one of them out")
        command(scheduler=Path(Location.of(scheduler_file).expanded.text) if scheduler_file else scheduler, **others)

    address = click.option("--scheduler", metavar="ADDRESS", help="Use the dask cluster of this scheduler.")
    file = click.option("--scheduler-file", metavar="FILE", help="The same; the scheduler's file has the address.")
    return address(file(collected))


def wait_flag(command: Command) -> Command:
    """Add --wait-workers."""
    text = "How long to wait while a cluster has no workers, e.g. 90s or 2h."
    default = "10 minutes"
    return click.option("--wait-workers", metavar="TIME", default=default, show_default=True, help=text)(command)


def engine_flags(command: Command) -> Command:
    """Add the flags of scheduler and workers, collected as `engine`."""

    @functools.wraps(command)
    def collected(
        *,
        scheduler: str | Path | None,
        wait_workers: str,
        workers: int | None,
        threads: int | None,
        memory_limit: str | None,
        local_threads: bool,
        **others: object,
    ) -> None:
        engine = engine_options(
            scheduler, workers, threads, memory_limit, wait_workers=wait_workers, local_threads=local_threads
        )
        command(engine=engine, **others)

    flags = (
        click.option("--workers", type=click.IntRange(1), help="Worker processes.  [default: one per core]"),
        click.option("--threads", type=click.IntRange(1), help="Threads per worker process.  [default: 1]"),
        click.option("--memory-limit", metavar="SIZE", help="Memory per worker process, e.g. 2GB."),
        click.option("--local-threads", is_flag=True, help="Use threads of this process; a crash ends the run."),
    )
    own = functools.reduce(lambda inner, flag: flag(inner), reversed(flags), collected)
    return scheduler_flags(wait_flag(own))


def index_flag(command: Command) -> Command:
    """Add --index."""
    text = "Table or folder of jp2batch index, or of Kayrros: its images are read in one or two round trips."
    return click.option("--index", "table", metavar="FILE|DIR/", help=text)(command)


def use_index(table: str | None, storage: StorageFlags) -> None:
    """Use an index table in this process, after checking it."""
    if table is None:
        return
    from jp2batch.core.config import share_index
    from jp2batch.image.index.shared_index import shared_table

    options = storage.options_beside(table)
    shared_table(table, options)
    share_index(table, options)


def engine_options(
    scheduler: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    threads: int | None = None,
    memory_limit: str | None = None,
    *,
    wait_workers: str = "10 minutes",
    local_threads: bool = False,
) -> "EngineOptions":
    """Return the engine options; by default a cluster of local processes.

    If no flag decides, the cluster is the one of dask's variable DASK_SCHEDULER_ADDRESS.

    Raises
    ------
    InvalidRequest
        The flags contradict each other.
    """
    from jp2batch.compute.connection import configured_address
    from jp2batch.compute.engine import EngineOptions

    own = {"--workers": workers, "--threads": threads, "--memory-limit": memory_limit}
    given = [flag for flag, value in own.items() if value is not None]
    if local_threads:
        if scheduler:
            raise InvalidRequest("", "--scheduler and --local-threads exclude each other", "leave one of them out")
        if given:
            raise InvalidRequest("", f"{given[0]} does not apply with --local-threads", "leave one of them out")
    elif scheduler is None and not given:
        scheduler = configured_address()
    return EngineOptions(
        client=scheduler,
        processes=not local_threads,
        workers=workers,
        threads=threads,
        memory_limit=memory_limit,
        wait_workers=wait_workers,
    )
