"""Flags and exit codes shared by the commands."""

from collections.abc import Callable
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
    scheduler: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    memory_limit: str | None = None,
    *,
    local_threads: bool = False,
) -> "EngineOptions":
    """Return the engine options; by default a cluster of local processes.

    Raises
    ------
    InvalidRequest
        The flags contradict each other.
    """
    from jp2batch.compute.engine import EngineOptions

    if local_threads:
        own = {"--workers": workers, "--threads": threads, "--memory-limit": memory_limit}
        given = [flag for flag, value in own.items() if value is not None]
        if scheduler:
            raise InvalidRequest("", "--scheduler and --local-threads exclude each other", "leave one of them out")
        if given:
            raise InvalidRequest("", f"{given[0]} does not apply with --local-threads", "leave one of them out")
    return EngineOptions(
        client=scheduler, processes=not local_threads, workers=workers, threads=threads, memory_limit=memory_limit
    )
