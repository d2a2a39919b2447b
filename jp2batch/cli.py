"""The command line: parses, calls, prints, exits. Data on stdout, everything else on stderr.

Exit codes: 0 all well, 1 something failed, 2 wrong usage, 3 could not start, 130 interrupted.
"""

import errno
import json
from collections.abc import Callable
from typing import Any

import click

import jp2batch
from jp2batch.errors import ConfigurationError, InvalidRequest, Jp2BatchError, StorageError

Command = Callable[..., None]

_FAILED, _USAGE, _NOT_STARTED, _INTERRUPTED = 1, 2, 3, 130
_FORMS = ["npy", "json", "png", "tif", "nc", "zarr"]  # of files that a batch writes
_HUGE = 50_000_000  # bytes of JSON that hardly anybody means to print


class _Group(click.Group):
    """Says errors in one line, and turns them into exit codes, in one place."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Jp2BatchError as error:
            _say(str(error))
            ctx.exit(_exit_code(error))
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # nobody reads on, as after `| head`; click leaves quietly
            _say(f"{error.filename or 'system'}: {error.strerror or error}")
            ctx.exit(_FAILED)
        except KeyboardInterrupt:
            _say("interrupted")
            ctx.exit(_INTERRUPTED)


def _exit_code(error: Jp2BatchError) -> int:
    if isinstance(error, InvalidRequest):
        return _USAGE
    return _NOT_STARTED if isinstance(error, ConfigurationError) else _FAILED


def _say(text: str) -> None:
    click.echo(f"jp2batch: {text}", err=True)


def _storage_flags(command: Command) -> Command:
    """Add the storage flags, named as the AWS CLI names them."""
    flags = [
        click.option("--endpoint-url", metavar="URL", help="Address of a store that is not Amazon's or Google's."),
        click.option("--no-sign-request", is_flag=True, help="Ask anonymously: for public buckets."),
        click.option("--request-payer", type=click.Choice(["requester"]), help="Pay for the requests."),
        click.option("--profile", metavar="NAME", help="Profile of the AWS configuration."),
        click.option("--region", metavar="NAME", help="Region of the bucket."),
        click.option("--storage-options", "more", metavar="JSON|@FILE", help="Other options of fsspec's driver."),
    ]
    for flag in reversed(flags):
        command = flag(command)
    return command


def _image_flags(command: Command) -> Command:
    """Add what part of the image is meant."""
    window = click.option("--window", metavar="R0:R1,C0:C1", help="Part to read, in pixels of the full image.")
    rlevel = click.option(
        "--rlevel", type=int, default=-1, show_default=True, help="Resolution levels to drop: 0 = full, -1 = lowest."
    )
    return rlevel(window(command))


def _options(path: str | None, storage: dict[str, Any]) -> dict[str, Any]:
    from jp2batch.storage.flags import options_from_flags

    return options_from_flags(path or "", **storage)


@click.group("jp2batch", cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(jp2batch.__version__, prog_name="jp2batch")
def main() -> None:
    """Read Sentinel-2 JPEG 2000 images from object stores, by the bytes that are needed.

    \b
    Examples:
      jp2batch info scene.jp2
      jp2batch plan s3://bucket/B04.jp2 --no-sign-request
      jp2batch read https://host/B04.jp2 --rlevel 2 -o b04.tif

    Data goes to stdout, messages to stderr. Exit codes: 0 all well, 1 something failed, 2 wrong usage, 3 could not
    start, 130 interrupted.
    """


@main.command()
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_storage_flags
def info(path: str, as_json: bool, **storage: Any) -> None:
    """Tell what the image at PATH is, from its header.

    \b
    Examples:
      jp2batch info scene.jp2
      jp2batch info --json s3://bucket/B04.jp2 --no-sign-request
    """
    _print(jp2batch.inspect(path, storage_options=_options(path, storage)), as_json)


@main.command()
@click.argument("path")
@_image_flags
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_storage_flags
def plan(path: str, rlevel: int, window: str | None, as_json: bool, **storage: Any) -> None:
    """Tell what reading PATH would cost, without reading it.

    \b
    Examples:
      jp2batch plan scene.jp2
      jp2batch plan scene.jp2 --rlevel 0 --window 9500:10000,9500:10000
    """
    _print(jp2batch.plan(path, rlevel, window, storage_options=_options(path, storage)), as_json)


@main.command()
@click.argument("path")
@_image_flags
@click.option("-o", "--output", metavar="FILE", help="Write .json, .npy, .png, .tif, .nc or .zarr instead of printing.")
@_storage_flags
def read(path: str, rlevel: int, window: str | None, output: str | None, **storage: Any) -> None:
    """Read PATH; print it as the JSON of the web service, or write it to a file.

    \b
    Examples:
      jp2batch read scene.jp2 > scene.json
      jp2batch read scene.jp2 --rlevel 2 -o scene.tif
      jp2batch read scene.jp2 --rlevel 0 --window 0:500,0:500 -o corner.png
    """
    from jp2batch.reader import read_pixels
    from jp2batch.request import Request, parse_window
    from jp2batch.response import response, to_json

    request = Request(path, rlevel, parse_window(window, path))
    if output is not None:
        from jp2batch.sinks import form_of, write

        form_of(output)  # say what is wrong with it before anything is read
        pixels = read_pixels(request, storage_options=_options(path, storage))
        write(pixels, output)
        _say(f"wrote {output}: {_summary(pixels)}")
        return
    text = to_json(response(read_pixels(request, storage_options=_options(path, storage))))
    if len(text) > _HUGE:
        _say(f"printing {len(text) / 1e6:.0f} MB of JSON; with -o name.npy or -o name.tif it would be far less")
    click.echo(text)


@main.command()
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
@_storage_flags
def run(manifest: str, as_json: bool, quiet: bool, **options: Any) -> None:
    """Read all images that MANIFEST asks for; write what they hold to OUT, and beside it a record of each.

    \b
    Examples:
      jp2batch run scenes.csv -o results.ndjson
      jp2batch run scenes.csv -o results.ndjson --resume
      ls *.jp2 | jp2batch run - -o pictures/ --format png --rlevel 3
    """
    from jp2batch.runner import run_manifest

    context = click.get_current_context()
    if as_json and options["output"] == "-":
        raise click.UsageError("--json and the results would both go to stdout")
    try:
        summary = run_manifest(manifest, progress=not quiet, **options)
    except StorageError as error:
        _say(str(error))
        context.exit(_NOT_STARTED)
    except KeyboardInterrupt:
        _say("interrupted; what is recorded is kept: resume with --resume")
        context.exit(_INTERRUPTED)
    if not quiet:
        click.echo(str(summary), err=True)
    if as_json:
        click.echo(json.dumps(summary.summary()))
    context.exit(0 if summary.ok == summary.requests else _FAILED)


@main.command()
@click.argument("folder")
@click.option("--size", type=int, default=1098, show_default=True, help="Pixels a side at 10 m, a multiple of 6.")
@click.option("--tlm", is_flag=True, help="With the index of tiles that images have since February 2026.")
def sample(folder: str, size: int, tlm: bool) -> None:
    """Make a small product like Sentinel-2's in FOLDER; print the paths of its images.

    \b
    Examples:
      jp2batch sample scenes
      jp2batch sample scenes --size 10980 --tlm
    """
    from jp2batch.sample import make_product

    for path in sorted(make_product(folder, size=size, tlm=tlm).rglob("*.jp2")):
        click.echo(str(path))


@main.command()
@click.argument("folder", metavar="[DIR]", default="jp2batch-demo")
def demo(folder: str) -> None:
    """Make images in DIR, read them as a batch on a local cluster, and picture them: all that this package does.

    DIR is ./jp2batch-demo unless another is given; it is new, empty, or of an earlier demo. It takes 17 MB.

    \b
    Examples:
      jp2batch demo
      jp2batch demo somewhere/else
    """
    from jp2batch.demo import run_demo

    click.echo(str(run_demo(folder, say=_say)))


@main.command()
@click.argument("path", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_storage_flags
def doctor(path: str | None, as_json: bool, **storage: Any) -> None:
    """Tell what is installed, found and configured; and whether the image at PATH can be read.

    \b
    Examples:
      jp2batch doctor
      jp2batch doctor s3://bucket/B04.jp2 --no-sign-request
    """
    from jp2batch.doctor import examine

    findings = examine(path, storage_options=_options(path, storage))
    if as_json:
        click.echo(json.dumps([finding.to_dict() for finding in findings]))
    else:
        for finding in findings:
            click.echo(str(finding))
    if any(finding.status == "problem" for finding in findings):
        click.get_current_context().exit(_FAILED)


def _summary(pixels: Any) -> str:
    from jp2batch.info import format_bytes

    (_, rows, columns), stats, size = pixels.values.shape, pixels.stats, pixels.opened.source.size
    took = f"fetched {format_bytes(stats.bytes_read)} of {format_bytes(size)} in {stats.requests} requests"
    return "; ".join([f"{rows} x {columns}, {took}", *stats.reasons])


def _print(value: Any, as_json: bool) -> None:
    click.echo(json.dumps(value.to_dict(), allow_nan=False) if as_json else str(value))
