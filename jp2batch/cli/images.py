"""The commands for one image: info, plan, read."""

from typing import Any

import click

import jp2batch
from jp2batch.cli.options import image_flags, index_flag, say, show, storage_flags, storage_options, use_index

_HUGE = 50_000_000  # bytes of JSON that hardly anybody means to print


@click.command()
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@storage_flags
def info(path: str, as_json: bool, **storage: Any) -> None:
    """Tell what the image at PATH is, from its header.

    \b
    Examples:
      jp2batch info scene.jp2
      jp2batch info --json s3://bucket/B04.jp2 --no-sign-request
    """
    show(jp2batch.inspect(path, storage_options=storage_options(path, storage)), as_json)


@click.command()
@click.argument("path")
@image_flags
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@index_flag
@storage_flags
def plan(path: str, rlevel: int, window: str | None, as_json: bool, table: str | None, **storage: Any) -> None:
    """Tell what reading PATH would cost, without reading it.

    \b
    Examples:
      jp2batch plan scene.jp2
      jp2batch plan scene.jp2 --rlevel 0 --window 9500:10000,9500:10000
    """
    use_index(table, storage)
    show(jp2batch.plan(path, rlevel, window, storage_options=storage_options(path, storage)), as_json)


@click.command(short_help="Read an image: print it as JSON, or write it to a file.")
@click.argument("path")
@image_flags
@click.option("-o", "--output", metavar="FILE", help="Write .json, .npy, .png, .tif, .nc or .zarr instead of printing.")
@index_flag
@storage_flags
def read(path: str, rlevel: int, window: str | None, output: str | None, table: str | None, **storage: Any) -> None:
    """Read PATH; print it as the JSON of the web service, or write it to a file.

    \b
    Examples:
      jp2batch read scene.jp2 > scene.json
      jp2batch read scene.jp2 --rlevel 2 -o scene.tif
      jp2batch read scene.jp2 --rlevel 0 --window 0:500,0:500 -o corner.png
    """
    from jp2batch.reader import read_pixels
    from jp2batch.request import Request, parse_window
    from jp2batch.response import to_json

    use_index(table, storage)
    request = Request(path, rlevel, parse_window(window, path))
    if output is not None:
        from jp2batch.writers import form_of, write

        form_of(output)  # say what is wrong with it before anything is read
        pixels = read_pixels(request, storage_options=storage_options(path, storage))
        write(pixels, output)
        say(f"wrote {output}: {_summary(pixels)}")
        return
    text = to_json(read_pixels(request, storage_options=storage_options(path, storage)))
    if len(text) > _HUGE:
        say(f"printing {len(text) / 1e6:.0f} MB of JSON; with -o name.npy or -o name.tif it would be far less")
    click.echo(text)


def _summary(pixels: Any) -> str:
    from jp2batch.info import format_bytes

    (_, rows, columns), stats, size = pixels.values.shape, pixels.stats, pixels.opened.source.size
    took = f"fetched {format_bytes(stats.bytes_read)} of {format_bytes(size)} in {stats.requests} requests"
    return "; ".join([f"{rows} x {columns}, {took}", *stats.reasons])
