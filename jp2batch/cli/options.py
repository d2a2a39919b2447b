"""Flags and exit codes shared by the commands."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jp2batch.cli.storage_flags import StorageFlags
from jp2batch.core.errors import InvalidRequest

if TYPE_CHECKING:
    from jp2batch.compute.engine import EngineOptions

Command = Callable[..., None]

FAILED, USAGE, NOT_STARTED, INTERRUPTED = 1, 2, 3, 130  # exit codes


def image_flags(command: Command) -> Command:
    """Add --rlevel and --window."""
    window = click.option("--window", metavar="R0:R1,C0:C1", help="Part to read, in pixels of the full image.")
    rlevel = click.option(
        "--rlevel", type=int, default=-1, show_default=True, help="Resolution levels to drop: 0 = full, -1 = lowest."
    )
    return rlevel(window(command))


def scheduler_flags(command: Command) -> Command:
    """Add --scheduler and --scheduler-file, as the parameter `scheduler`."""

    @functools.wraps(command)
    def collected(*, scheduler: str | None, scheduler_file: str | None, **others: object) -> None:
        if scheduler and scheduler_file:
            raise InvalidRequest("", "--scheduler and --scheduler-file exclude each other", "leave one of them out")
        command(scheduler=Path(scheduler_file) if scheduler_file else scheduler, **others)

    address = click.option("--scheduler", metavar="ADDRESS", help="Use the dask cluster of this scheduler.")
    file = click.option("--scheduler-file", metavar="FILE", help="The same; the scheduler's file has the address.")
    return address(file(collected))


def wait_flag(command: Command) -> Command:
    """Add --wait-workers."""
    text = "How long to wait while a cluster has no workers, e.g. 90s or 2h."
    default = "10 minutes"
    return click.option("--wait-workers", metavar="TIME", default=default, show_default=True, help=text)(command)


def index_flag(command: Command) -> Command:
    """Add --index."""
    text = "Table of jp2batch index, or of Kayrros: its images are read in one round trip."
    return click.option("--index", "table", metavar="FILE", help=text)(command)


def use_index(table: str | None, storage: StorageFlags) -> None:
    """Use an index table in this process, after checking it."""
    if table is None:
        return
    from jp2batch.core.config import share_index
    from jp2batch.image.index.parquet_table import shared_table

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
