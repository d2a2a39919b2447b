"""The commands for many images: run, index, demo."""

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

_FORMS = ["npy", "json", "png", "tif", "nc", "zarr"]  # of files that a batch writes


@click.command(short_help="Read all images of a manifest, with a record of each.")
@click.argument("manifest", metavar="MANIFEST|-")
@click.option(
    "-o", "--output", required=True, metavar="OUT", help="results.ndjson, results.zarr, a folder DIR/, or - for stdout."
)
@click.option("--format", "form", type=click.Choice(_FORMS), help="Form of the files in a folder.  [default: npy]")
@click.option("--records", metavar="FILE", help="Where records go, if not beside the output.")
@click.option("--rlevel", type=int, default=-1, show_default=True, help="The level of rows that name none.")
@click.option("--root", metavar="URL", help="Folder or bucket that paths are below of, and may not leave.")
@click.option("--scheduler", metavar="ADDRESS", help="Work on the dask cluster with this scheduler.")
@click.option("--workers", type=click.IntRange(1), help="Processes to start.  [default: one a core]")
@click.option("--threads", type=click.IntRange(1), help="Threads of each process.  [default: 1]")
@click.option("--memory-limit", metavar="SIZE", help="Memory of each process, such as 2GB.")
@click.option("--local-threads", is_flag=True, help="Work in threads of this process: a file that crashes ends it all.")
@click.option("--resume", is_flag=True, help="Keep what an earlier run has done, and do the rest.")
@click.option("--retry-failed", is_flag=True, help="Do only what an earlier run has recorded as failed.")
@click.option("--overwrite", is_flag=True, help="Replace the results of an earlier run.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first failure.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
@index_flag
@storage_flags
def run(manifest: str, as_json: bool, quiet: bool, table: str | None, **options: Any) -> None:
    """Read all images that MANIFEST asks for; write what they hold to OUT, and beside it a record of each.

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


@click.command("index", short_help="Learn where the tiles of a manifest's images lie.")
@click.argument("manifest", metavar="MANIFEST|-")
@click.option("-o", "--output", required=True, metavar="FILE", help="The table: index.parquet, or a URL.")
@click.option("--root", metavar="URL", help="Folder or bucket that paths are below of, and may not leave.")
@click.option("--scheduler", metavar="ADDRESS", help="Work on the dask cluster with this scheduler.")
@click.option("--workers", type=click.IntRange(1), help="Processes to start.  [default: threads of this process]")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
@storage_flags
def index(manifest: str, output: str, root: str | None, as_json: bool, quiet: bool, **options: Any) -> None:
    """Learn where the tiles of all images of MANIFEST lie, and write that to FILE.

    With --index FILE, others read these images in one round trip. Only headers are fetched; an image that is hardly
    more than its headers is fetched whole.

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


@click.command(short_help="Make images, read them as a batch, and draw a picture.")
@click.argument("folder", metavar="[DIR]", default="jp2batch-demo")
def demo(folder: str) -> None:
    """Make images in DIR, read them as a batch on a local cluster, and picture them: all that this package does.

    DIR is ./jp2batch-demo unless another is given; it is new, empty, or of an earlier demo. It takes 17 MB.

    \b
    Examples:
      jp2batch demo
      jp2batch demo somewhere/else
    """
    from jp2batch.cli.demo import run_demo

    click.echo(str(run_demo(folder, say=say)))
