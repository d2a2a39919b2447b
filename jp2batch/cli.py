"""The command line: parses, calls, prints, exits. Data on stdout, everything else on stderr.

Exit codes: 0 all well, 1 something failed, 2 wrong usage, 3 could not start, 130 interrupted.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import jp2batch
from jp2batch.errors import ConfigurationError, InvalidRequest, Jp2BatchError

Command = Callable[..., None]

_FAILED, _USAGE, _NOT_STARTED, _INTERRUPTED = 1, 2, 3, 130


class _Group(click.Group):
    """Says errors in one line, and turns them into exit codes, in one place."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Jp2BatchError as error:
            click.echo(f"jp2batch: {error}", err=True)
            ctx.exit(_exit_code(error))
        except KeyboardInterrupt:
            click.echo("jp2batch: interrupted", err=True)
            ctx.exit(_INTERRUPTED)


def _exit_code(error: Jp2BatchError) -> int:
    if isinstance(error, InvalidRequest):
        return _USAGE
    return _NOT_STARTED if isinstance(error, ConfigurationError) else _FAILED


def _storage_flags(command: Command) -> Command:
    """Add the storage flags, named as the AWS CLI names them; the command gets `storage_options`."""
    flags = [
        click.option("--endpoint-url", metavar="URL", help="Address of an S3-compatible store."),
        click.option("--no-sign-request", is_flag=True, help="Ask anonymously."),
        click.option("--request-payer", type=click.Choice(["requester"]), help="Pay for the requests."),
        click.option("--profile", metavar="NAME", help="Profile of the AWS configuration."),
        click.option("--region", metavar="NAME", help="Region of the bucket."),
        click.option("--storage-options", metavar="JSON|@FILE", help="More options of fsspec."),
    ]
    for flag in reversed(flags):
        command = flag(command)
    return command


def _image_flags(command: Command) -> Command:
    command = click.option("--window", metavar="R0:R1,C0:C1", help="The part to read, in pixels of the full image.")(
        command
    )
    return click.option(
        "--rlevel", type=int, default=-1, show_default=True, help="Resolution levels to drop: 0 = full, -1 = lowest."
    )(command)


def _storage_options(
    *,
    endpoint_url: str | None,
    no_sign_request: bool,
    request_payer: str | None,
    profile: str | None,
    region: str | None,
    storage_options: str | None,
) -> dict[str, Any]:
    given: dict[str, Any] = {
        "endpoint_url": endpoint_url,
        "anon": no_sign_request or None,
        "requester_pays": request_payer is not None or None,
        "profile": profile,
        "client_kwargs": {"region_name": region} if region else None,
    }
    return {key: value for key, value in given.items() if value is not None} | _parsed(storage_options)


def _parsed(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        options = json.loads(Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text)
    except OSError as error:
        raise click.BadParameter(f"cannot read {text[1:]}: {error.strerror}", param_hint="--storage-options") from None
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise click.BadParameter('give a JSON object such as {"anon": true}', param_hint="--storage-options")
    return options


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(jp2batch.__version__, prog_name="jp2batch")
def main() -> None:
    """Read Sentinel-2 JPEG 2000 images from object stores, by the bytes that are needed.

    \b
    Examples:
      jp2batch info scene.jp2
      jp2batch plan s3://bucket/B04.jp2 --no-sign-request
      jp2batch read https://host/B04.jp2 --rlevel 2 -o b04.tif
    """


@main.command()
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_storage_flags
def info(path: str, as_json: bool, **storage: Any) -> None:
    """Tell what the image at PATH is.

    \b
    Examples:
      jp2batch info scene.jp2
      jp2batch info --json s3://bucket/B04.jp2 --no-sign-request
    """
    _print(jp2batch.inspect(path, storage_options=_storage_options(**storage)), as_json)


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
    _print(jp2batch.plan(path, rlevel, window, storage_options=_storage_options(**storage)), as_json)


@main.command()
@click.argument("path")
@_image_flags
@click.option("-o", "--output", metavar="FILE", help="Write .json, .npy, .png, .tif, .nc or .zarr instead of printing.")
@_storage_flags
def read(path: str, rlevel: int, window: str | None, output: str | None, **storage: Any) -> None:
    """Read PATH; print it as the JSON of the web service.

    \b
    Examples:
      jp2batch read scene.jp2 > scene.json
      jp2batch read scene.jp2 --rlevel 2 -o scene.tif
      jp2batch read scene.jp2 --rlevel 0 --window 0:500,0:500 -o corner.png
    """
    from jp2batch.reader import read_pixels
    from jp2batch.request import Request, parse_window
    from jp2batch.response import response, to_json
    from jp2batch.sinks import form_of, write

    if output is not None:
        form_of(output)  # say what is wrong with it before anything is read
    request = Request(path, rlevel, parse_window(window, path))
    pixels = read_pixels(request, storage_options=_storage_options(**storage))
    if output is not None:
        write(pixels, output)
    else:
        sys.stdout.buffer.write(to_json(response(pixels)) + b"\n")


@main.command()
@click.argument("path", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_storage_flags
def doctor(path: str | None, as_json: bool, **storage: Any) -> None:
    """Tell what is installed and found; and whether the image at PATH can be reached.

    \b
    Examples:
      jp2batch doctor
      jp2batch doctor s3://bucket/B04.jp2 --no-sign-request
    """
    from jp2batch.doctor import examine

    findings = examine(path, storage_options=_storage_options(**storage))
    if as_json:
        click.echo(json.dumps([finding.to_dict() for finding in findings]))
    else:
        for finding in findings:
            click.echo(f"{finding.status:<8} {finding.topic:<12} {finding.detail}")
    if any(finding.status == "problem" for finding in findings):
        sys.exit(_FAILED)


def _print(value: Any, as_json: bool) -> None:
    click.echo(json.dumps(value.to_dict(), allow_nan=False) if as_json else str(value))
