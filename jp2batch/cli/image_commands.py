"""Commands for a single image: info, plan, read."""

import json
from typing import TYPE_CHECKING

import click

import jp2batch
from jp2batch.cli.messages import complain, say, show
from jp2batch.cli.options import FAILED, area_flags, image_flags, index_flag, use_index
from jp2batch.cli.storage_flags import StorageFlags, storage_flags
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.file_formats import FORMATS
from jp2batch.core.location import Location
from jp2batch.core.map_area import MapArea
from jp2batch.core.redaction import redact_path

if TYPE_CHECKING:
    from jp2batch.image.read import Pixels

_SUFFIXES = ", ".join(row.suffix for row in FORMATS.values() if not row.is_alias)
_HUGE = 50_000_000  # bytes of JSON, above which a hint to use -o is printed


@click.command()
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@storage_flags
def info(path: str, *, as_json: bool, storage: StorageFlags) -> None:
    """Print size, bands, tiles and levels of the image at PATH.

    Only its header is read.

    \b
    Examples:
      jp2batch info scene.jp2
      jp2batch info --json s3://bucket/B04.jp2 --no-sign-request
    """
    show(jp2batch.inspect(path, storage_options=storage.options_for(path)), as_json)


@click.command(short_help="Print the cost of reading an image or a manifest.")
@click.argument("path", metavar="PATH|MANIFEST|-")
@image_flags
@area_flags
@click.option("--root", metavar="URL", help="Base folder or bucket; paths are relative to it and cannot escape it.")
@click.option("--latency", metavar="TIME", help="Assumed latency of the store, e.g. 30ms.")
@click.option("--bandwidth", metavar="BYTES", help="Assumed bytes per second of a connection, e.g. 60MB.")
@click.option("--connections", type=click.IntRange(1), help="Assumed number of concurrent connections.")
@click.option("--workers", type=click.IntRange(1), help="Concurrent reads of a batch.  [default: one per core]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", is_flag=True, help="Show no progress bar.")
@index_flag
@storage_flags
def plan(
    path: str,
    *,
    rlevel: int,
    window: str | None,
    area: MapArea | None,
    root: str | None,
    latency: str | None,
    bandwidth: str | None,
    connections: int | None,
    workers: int | None,
    as_json: bool,
    quiet: bool,
    table: str | None,
    storage: StorageFlags,
) -> None:
    """Print the cost of reading PATH, or all of MANIFEST.

    Prints requests, bytes and seconds, from the store costs in the configuration or from the flags. Only headers are
    fetched.

    \b
    Examples:
      jp2batch plan scene.jp2
      jp2batch plan scene.jp2 --rlevel 0 --window 9500:10000,9500:10000
      jp2batch plan scene.jp2 --bbox -8.9,52.9,-8.8,53.0 --resolution 20
      jp2batch plan scenes.csv --latency 30ms --bandwidth 60MB
    """
    from jp2batch.batch.manifest.read import names_manifest
    from jp2batch.core.request import Request
    from jp2batch.core.store_settings import profiles_with
    from jp2batch.image.inspect import plan_request

    with profiles_with(latency, bandwidth, connections):
        use_index(table, storage)
        if not names_manifest(path):
            request = Request(path, rlevel, window, root, area=area)
            show(plan_request(request, storage_options=storage.options_for(root or path)), as_json)
            return
        if window is not None or area is not None:
            flag = "--window" if area is None else "an area on the map"
            raise click.UsageError(f"{flag} is for a single image; a manifest has columns for it")
        _plan_all(path, storage, rlevel=rlevel, root=root, readers=workers, progress=not quiet, as_json=as_json)


def _plan_all(
    path: str,
    storage: StorageFlags,
    *,
    rlevel: int,
    root: str | None,
    readers: int | None,
    progress: bool,
    as_json: bool,
) -> None:
    from jp2batch.cli.manifests import plan_manifest

    found = plan_manifest(path, storage, rlevel=rlevel, root=root, readers=readers, progress=progress)
    for error in found.errors:
        complain(error)
    title = "standard input" if path == "-" else Location.of(path).redacted
    click.echo(json.dumps(found.to_dict(), allow_nan=False) if as_json else found.text(title))
    click.get_current_context().exit(FAILED if found.errors else 0)


@click.command(short_help="Read an image: print it as JSON, or write it to a file.")
@click.argument("path")
@image_flags
@area_flags
@click.option("-o", "--output", metavar="FILE", help=f"Write {_SUFFIXES} instead of printing.")
@index_flag
@storage_flags
def read(
    path: str,
    *,
    rlevel: int,
    window: str | None,
    area: MapArea | None,
    output: str | None,
    table: str | None,
    storage: StorageFlags,
) -> None:
    """Read PATH; print the web service's JSON, or write a file.

    \b
    Examples:
      jp2batch read scene.jp2 > scene.json
      jp2batch read scene.jp2 --rlevel 2 -o scene.tif
      jp2batch read scene.jp2 --rlevel 0 --window 0:500,0:500 -o corner.png
      jp2batch read scene.jp2 --geometry field.geojson --resolution 10 -o field.tif
    """
    from jp2batch.core.request import Request
    from jp2batch.image.read import read_pixels
    from jp2batch.image.response import to_json

    use_index(table, storage)
    request = Request(path, rlevel, window, area=area)
    if output is not None:
        from jp2batch.array.formats import form_of, write
        from jp2batch.storage.files import is_same_file

        form_of(output)  # check the name before reading
        ours, theirs = Location.of(output).expanded, Location.of(path).expanded
        if ours.is_local and theirs.is_local and is_same_file(ours.path, theirs.path):
            raise InvalidRequest(output, "this is the image, and would be overwritten", "give another name")
        pixels = read_pixels(request, storage_options=storage.options_for(path))
        write(pixels, output)
        say(f"wrote {redact_path(output)}: {_summary(pixels)}")
        return
    text = to_json(read_pixels(request, storage_options=storage.options_for(path)))
    if len(text) > _HUGE:
        say(f"printing {len(text) / 1e6:.0f} MB of JSON; with -o name.npy or -o name.tif it would be far less")
    click.echo(text)


def _summary(pixels: "Pixels") -> str:
    from jp2batch.core.display import format_bytes

    (_, rows, columns), stats, size = pixels.values.shape, pixels.stats, pixels.opened.source.size or 0
    took = f"fetched {format_bytes(stats.bytes_read)} of {format_bytes(size)} in {stats.requests} requests"
    return "; ".join([f"{rows} x {columns}, {took}", *stats.reasons])
