"""Flags, exit codes and printing shared by the commands."""

import json
from collections.abc import Callable
from typing import Any

import click

from jp2batch.core.location import Location

Command = Callable[..., None]

FAILED, USAGE, NOT_STARTED, INTERRUPTED = 1, 2, 3, 130  # exit codes


def say(text: str) -> None:
    """Print a message to stderr."""
    click.echo(f"jp2batch: {text}", err=True)


def show(value: Any, as_json: bool) -> None:
    """Print a value to stdout, as text or as JSON."""
    click.echo(json.dumps(value.to_dict(), allow_nan=False) if as_json else str(value))


def storage_flags(command: Command) -> Command:
    """Add the storage flags, named as the AWS CLI names them."""
    flags = [
        click.option("--endpoint-url", metavar="URL", help="Address of an S3 or GCS compatible store."),
        click.option("--no-sign-request", is_flag=True, help="Access public buckets anonymously."),
        click.option("--request-payer", type=click.Choice(["requester"]), help="Pay for the requests."),
        click.option("--profile", metavar="NAME", help="Profile of the AWS configuration."),
        click.option("--region", metavar="NAME", help="Region of the bucket."),
        click.option("--storage-options", "more", metavar="JSON|@FILE", help="Further options of fsspec's driver."),
    ]
    for flag in reversed(flags):
        command = flag(command)
    return command


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


def use_index(table: str | None, storage: dict[str, Any]) -> None:
    """Use an index table in this process, after checking it."""
    if table is None:
        return
    from jp2batch.core.config import share_index
    from jp2batch.image.index.parquet_table import shared_table

    options = open_options(table, storage)
    shared_table(table, options)
    share_index(table, options)


def open_options(path: str, storage: dict[str, Any]) -> dict[str, Any]:
    """Return storage options for a file besides the images.

    Flags apply to object stores only; `--storage-options`, which may hold secrets, are left out.
    """
    from jp2batch.storage.flags import options_from_flags

    remote = Location.of(path).scheme in ("s3", "s3a", "gs", "gcs")
    return options_from_flags(path, **{name: storage[name] for name in storage if name != "more"}) if remote else {}


def storage_options(path: str | None, storage: dict[str, Any]) -> dict[str, Any]:
    """Return storage options for the store of a path, from the flags."""
    from jp2batch.storage.flags import options_from_flags

    return options_from_flags(path or "", **storage)
