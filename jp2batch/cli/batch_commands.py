"""Commands for many images: run, index, demo."""

import json
from typing import Any

import click

from jp2batch.cli.options import (
    FAILED,
    INTERRUPTED,
    NOT_STARTED,
    index_flag,
    open_options,
    say,
    storage_flags,
    use_index,
)
from jp2batch.core.errors import ClusterLost, OutputError, StorageError

_FORMS = ["npy", "json", "png", "tif", "nc", "zarr"]  # of the files in an output folder


@click.command(short_help="Read all images of a manifest, with a record of each.")
@click.argument("manifest", metavar="MANIFEST|-")
@click.option(
    "-o", "--output", required=True, metavar="OUT", help="results.ndjson, results.zarr, a folder DIR/, or - for stdout."
)
@click.option("--format", "form", type=click.Choice(_FORMS), help="Format of the files in a folder.  [default: npy]")
@click.option("--records", metavar="FILE", help="File for the records.  [default: beside the output]")
@click.option("--rlevel", type=int, default=-1, show_default=True, help="Resolution level for rows without rlevel.")
@click.option("--root", metavar="URL", help="Base folder or bucket; paths are relative to it and cannot escape it.")
@click.option("--scheduler", metavar="ADDRESS", help="Run on the dask cluster of this scheduler.")
@click.option("--workers", type=click.IntRange(1), help="Worker processes.  [default: one per core]")
@click.option("--threads", type=click.IntRange(1), help="Threads per worker process.  [default: 1]")
@click.option("--memory-limit", metavar="SIZE", help="Memory per worker process, e.g. 2GB.")
@click.option("--local-threads", is_flag=True, help="Use threads of this process; a crash ends the run.")
@click.option("--resume", is_flag=True, help="Continue an earlier run: read only the unfinished images.")
@click.option("--retry-failed", is_flag=True, help="Read only the images that failed in an earlier run.")
@click.option("--overwrite", is_flag=True, help="Replace the output of an earlier run.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first failure.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--quiet", is_flag=True, help="Print only errors.")
@index_flag
@storage_flags
def run(manifest: str, as_json: bool, quiet: bool, table: str | None, **options: Any) -> None:
    """Read all images of MANIFEST and write them to OUT, with records.

    A record tells how the read of an image ended: its status, size, bytes and seconds, or the error.

    \b
    Examples:
      jp2batch run scenes.csv -o results.ndjson
      jp2batch run scenes.csv -o results.ndjson --resume
      ls *.jp2 | jp2batch run - -o pictures/ --format png --rlevel 3
    """
    from jp2batch.batch.report import BatchSummary
    from jp2batch.cli.manifests import run_manifest
    from jp2batch.storage.flags import STORAGE_FLAGS

    context = click.get_current_context()
    if as_json and options["output"] == "-":
        raise click.UsageError("--json and the results would both go to stdout")
    begun: list[BatchSummary] = []

    def tell(summary: BatchSummary) -> None:
        if not quiet:
            click.echo(str(summary), err=True)
        if as_json:
            click.echo(json.dumps(summary.summary()))

    try:
        use_index(table, {name: options[name] for name in STORAGE_FLAGS})
        summary = run_manifest(manifest, progress=not quiet, on_begin=begun.append, **options)
    except (ClusterLost, OutputError) as error:
        list(map(tell, begun))
        say(f"{error}; what is recorded is kept: resume with --resume")
        context.exit(FAILED)
    except StorageError as error:
        say(str(error))
        context.exit(NOT_STARTED)
    except KeyboardInterrupt:
        list(map(tell, begun))
        say("interrupted; what is recorded is kept: resume with --resume")
        context.exit(INTERRUPTED)
    tell(summary)
    context.exit(0 if summary.ok == summary.requests else FAILED)


@click.command("index", short_help="Build an index of the tile-parts of a manifest's images.")
@click.argument("manifest", metavar="MANIFEST|-")
@click.option("-o", "--output", required=True, metavar="FILE", help="Index file to write: index.parquet, or a URL.")
@click.option("--root", metavar="URL", help="Base folder or bucket; paths are relative to it and cannot escape it.")
@click.option("--scheduler", metavar="ADDRESS", help="Run on the dask cluster of this scheduler.")
@click.option("--workers", type=click.IntRange(1), help="Worker processes.  [default: threads of this process]")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--quiet", is_flag=True, help="Print only errors.")
@storage_flags
def index(manifest: str, output: str, root: str | None, as_json: bool, quiet: bool, **options: Any) -> None:
    """Index the tile-parts of all images of MANIFEST, and write FILE.

    Later reads with --index FILE take one round trip per image. Only headers are fetched; an image hardly larger than
    its headers is fetched whole.

    \b
    Examples:
      jp2batch index scenes.csv -o index.parquet
      jp2batch index scenes.csv -o s3://bucket/index.parquet --workers 4
      jp2batch read scene.jp2 --index index.parquet -o scene.npy
    """
    from jp2batch.cli.manifests import index_manifest

    context = click.get_current_context()
    summary = index_manifest(
        manifest, output, root=root, output_options=open_options(output, options), progress=not quiet, **options
    )
    for error in summary.errors:
        say(str(error))
    if not quiet:
        say(f"wrote {output}: {summary}")
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
