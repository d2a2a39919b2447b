"""Commands for many images: run, index, demo."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from jp2batch.cli.logs import logs_as_messages
from jp2batch.cli.messages import complain, say
from jp2batch.cli.options import (
    FAILED,
    INTERRUPTED,
    NOT_STARTED,
    engine_flags,
    engine_options,
    index_flag,
    scheduler_flags,
    use_index,
    wait_flag,
)
from jp2batch.cli.storage_flags import StorageFlags, options_in_flags, storage_flags
from jp2batch.core.errors import ClusterLost, OutputError, StorageError, TooManyFailures
from jp2batch.core.file_formats import CUBE_FORMAT, DEFAULT_FORMAT, FORMAT_NAMES
from jp2batch.core.redaction import redact_path

if TYPE_CHECKING:
    from jp2batch.batch.report import BatchSummary
    from jp2batch.compute.engine import EngineOptions


@click.command(short_help="Read all images of a manifest, with a record of each.")
@click.argument("manifest", metavar="MANIFEST|-")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="OUT",
    help="results.ndjson, .parquet or .zarr, a folder DIR/, or - for stdout.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice((*FORMAT_NAMES, CUBE_FORMAT)),
    help=f"Format of the files in a folder, or cube for NAME.zarr.  [default: {DEFAULT_FORMAT}; cube for cube.zarr]",
)
@click.option(
    "--records",
    metavar="FILE",
    help="Local file for the records, or for a copy of those in a store; or .parquet: a table at the end of the run."
    "  [default: beside the output]",
)
@click.option("--rlevel", type=int, default=-1, show_default=True, help="Resolution level for rows without rlevel.")
@click.option("--root", metavar="URL", help="Base folder or bucket; paths are relative to it and cannot escape it.")
@engine_flags
@click.option("--resume", is_flag=True, help="Continue an earlier run: read only the unfinished images.")
@click.option("--retry-failed", is_flag=True, help="Read only the images that failed in an earlier run.")
@click.option("--overwrite", is_flag=True, help="Replace the output of an earlier run.")
@click.option("--verify", is_flag=True, help="Resume: compare the content of results, not only their sizes.")
@click.option("--clean", is_flag=True, help="Resume: remove recorded results of other manifests, and incomplete files.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first failure.")
@click.option("--max-failures", metavar="N|P%", help="Stop when more images failed: a number or a percentage.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--quiet", is_flag=True, help="Print only errors.")
@index_flag
@storage_flags
def run(
    manifest: str,
    *,
    output: str,
    form: str | None,
    records: str | None,
    rlevel: int,
    root: str | None,
    engine: "EngineOptions",
    resume: bool,
    retry_failed: bool,
    overwrite: bool,
    verify: bool,
    clean: bool,
    fail_fast: bool,
    max_failures: str | None,
    as_json: bool,
    quiet: bool,
    table: str | None,
    storage: StorageFlags,
) -> None:
    """Read all images of MANIFEST and write them to OUT, with records.

    A record tells how the read of an image ended: its status, size, bytes and seconds, or the error.

    \b
    Examples:
      jp2batch run scenes.csv -o results.ndjson
      jp2batch run scenes.csv -o results.ndjson --resume
      jp2batch run scenes.csv -o s3://bucket/results.parquet --workers 4
      ls *.jp2 | jp2batch run - -o pictures/ --format png --rlevel 3
    """
    from jp2batch.batch.options import RunOptions
    from jp2batch.cli.manifests import run_manifest

    if as_json and output == "-":
        raise click.UsageError("--json and the results would both go to stdout")
    options = RunOptions(
        output=output,
        form=form,
        records=records,
        resume=resume,
        retry_failed=retry_failed,
        overwrite=overwrite,
        verify=verify,
        clean=clean,
        fail_fast=fail_fast,
        max_failures=max_failures,
        progress=not quiet,
        engine=engine,
    )
    with logs_as_messages(quiet=quiet), ending(output, as_json=as_json, quiet=quiet) as begun:
        use_index(table, storage)
        summary = run_manifest(manifest, options, storage, rlevel=rlevel, root=root, on_begin=begun.append)
    tell_summary(summary, as_json=as_json, quiet=quiet)
    if summary.bad_rows is not None:
        say(summary.bad_rows.all_rows)
    click.get_current_context().exit(FAILED if summary.failed or summary.left else 0)


@contextlib.contextmanager
def ending(output: str, *, as_json: bool, quiet: bool) -> Iterator[list["BatchSummary"]]:
    """Print how a failed run ends; yield the list for its summary."""
    begun: list[BatchSummary] = []
    context, kept = click.get_current_context(), "" if output == "-" else "; records are kept: continue with --resume"
    try:
        yield begun
    except (ClusterLost, OutputError, TooManyFailures) as error:
        tell_summary(*begun, as_json=as_json, quiet=quiet)
        complain(error, kept)
        context.exit(FAILED)
    except StorageError as error:
        complain(error)
        context.exit(NOT_STARTED)
    except KeyboardInterrupt:
        tell_summary(*begun, as_json=as_json, quiet=quiet)
        say(f"interrupted{kept}")
        context.exit(INTERRUPTED)


def tell_summary(*summaries: "BatchSummary", as_json: bool, quiet: bool) -> None:
    """Print summaries."""
    for summary in summaries:
        if not quiet:
            click.echo(options_in_flags(str(summary)), err=True)
        if as_json:
            click.echo(json.dumps(summary.summary()))


@click.command("index", short_help="Build an index of the tile-parts of a manifest's images.")
@click.argument("manifest", metavar="MANIFEST|-")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE|DIR/",
    help="Index to write: index.parquet, or a folder of a table per MGRS tile; also URLs.",
)
@click.option(
    "--to",
    "target",
    type=click.Choice(["kayrros", "kerchunk", "icechunk"]),
    help="Write tables of Kayrros, or references for Zarr: a .json or .parquet of kerchunk, or a folder of Icechunk.",
)
@click.option("--root", metavar="URL", help="Base folder or bucket; paths are relative to it and cannot escape it.")
@scheduler_flags
@wait_flag
@click.option("--workers", type=click.IntRange(1), help="Worker processes.  [default: threads of this process]")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--quiet", is_flag=True, help="Print only errors.")
@storage_flags
def index(
    manifest: str,
    *,
    output: str,
    target: Literal["kayrros", "kerchunk", "icechunk"] | None,
    root: str | None,
    scheduler: str | Path | None,
    wait_workers: str,
    workers: int | None,
    as_json: bool,
    quiet: bool,
    storage: StorageFlags,
) -> None:
    """Index the tile-parts of all images of MANIFEST.

    Later reads with --index FILE take one round trip per image. Tables in DIR, one per MGRS tile, are some 25 times
    smaller, and keep the rows of other images; with --index DIR/, windows take two round trips. Only headers are
    fetched; an image hardly larger than its headers is fetched whole.

    \b
    Examples:
      jp2batch index scenes.csv -o index.parquet
      jp2batch index scenes.csv -o s3://bucket/index/ --workers 4
      jp2batch index scenes.csv -o "{level}-{tile}.parquet" --to kayrros
      jp2batch read scene.jp2 --index index.parquet -o scene.npy
      jp2batch index bands.csv -o bands.json --to kerchunk
    """
    from jp2batch.cli.manifests import index_manifest, reference_manifest
    from jp2batch.compute.connection import configured_address

    context = click.get_current_context()
    if target is not None and target != "kayrros":
        if scheduler or workers or as_json:
            raise click.UsageError(f"--to {target} takes no --scheduler, --scheduler-file, --workers or --json.")
        images = reference_manifest(manifest, output, target, storage, root=root)
        if not quiet:
            say(f"wrote {redact_path(output)}: references to {images} images")
        return
    scheduler = scheduler or (None if workers else configured_address())
    local_threads = scheduler is None and workers is None
    engine = engine_options(scheduler, workers, wait_workers=wait_workers, local_threads=local_threads)
    summary = index_manifest(manifest, output, storage, engine, layout=target, root=root, progress=not quiet)
    for error in summary.errors:
        complain(error)
    if not quiet:
        say(f"wrote {redact_path(output)}: {summary}")
    if as_json:
        click.echo(json.dumps(summary.summary()))
    context.exit(FAILED if summary.errors else 0)


@click.command(short_help="Make sample images, read them as a batch, draw a contact sheet.")
@click.argument("folder", metavar="[DIR]", default="jp2batch-demo")
def demo(folder: str) -> None:
    """Make images in DIR, read them on a local cluster, draw them.

    The picture is a contact sheet of all images.

    DIR is ./jp2batch-demo by default. It must be new, empty, or of an earlier demo. The demo takes 17 MB.

    \b
    Examples:
      jp2batch demo
      jp2batch demo somewhere/else
    """
    from jp2batch.cli.demo import run_demo

    click.echo(str(run_demo(folder, say=say)))
