"""Commands beside reading: sample, manifest, doctor."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from jp2batch.cli.messages import in_flags, say
from jp2batch.cli.options import FAILED, area_flags, image_flags, scheduler_flags
from jp2batch.cli.storage_flags import StorageFlags, storage_flags
from jp2batch.core.errors import InvalidRequest
from jp2batch.core.map_area import MapArea
from jp2batch.core.redaction import redact_path


@click.command(short_help="Make small Sentinel-2-like products.")
@click.argument("folder")
@click.option("--size", type=int, default=1098, show_default=True, help="Pixels per side at 10 m, a multiple of 6.")
@click.option("--tlm", is_flag=True, help="Write TLM segments, as ESA does since February 2026.")
@click.option("--dates", type=click.IntRange(1), default=1, show_default=True, help="Products, five days apart.")
@click.option("--orthophoto", is_flag=True, help="Make an image as of other archives: a single tile, no PLT.")
def sample(folder: str, size: int, tlm: bool, dates: int, orthophoto: bool) -> None:
    """Make small Sentinel-2-like products in FOLDER; print the image paths.

    \b
    Examples:
      jp2batch sample scenes
      jp2batch sample scenes --dates 6
      jp2batch sample scenes --size 10980 --tlm
      jp2batch sample scenes --orthophoto
    """
    from jp2batch.sample.orthophoto import NAME, ORTHOPHOTO, make_orthophoto
    from jp2batch.sample.product import make_series

    if orthophoto:
        if dates > 1:
            raise InvalidRequest("", "dates= means nothing with orthophoto=", "leave out one of them")
        coding = replace(ORTHOPHOTO, tlm=tlm)
        click.echo(str(make_orthophoto(Path(folder, NAME), size, coding=coding)))
        return
    for product in make_series(folder, dates, size=size, tlm=tlm):
        for path in sorted(product.rglob("*.jp2")):
            click.echo(str(path))


@click.command(short_help="Make a manifest of the images of products and STAC items.")
@click.argument("sources", metavar="SAFE|ITEMS|IMAGE…", nargs=-1, required=True)
@click.option("--bands", metavar="B04,B08", help="Bands to list; also by common names, as red,nir.  [default: all]")
@click.option("--metres", type=int, help="Pixel size in metres.  [default: the smallest of each band]")
@click.option("--alternate", metavar="NAME", help="Alternate location of assets of STAC items, as s3 or https.")
@image_flags
@area_flags
@click.option("-o", "--output", metavar="FILE", help="File .csv or .ndjson, also with .gz, instead of stdout.")
@storage_flags
def manifest(
    sources: tuple[str, ...],
    *,
    bands: str | None,
    metres: int | None,
    alternate: str | None,
    rlevel: int,
    window: str | None,
    area: MapArea | None,
    output: str | None,
    storage: StorageFlags,
) -> None:
    """Make a manifest of the images of products and STAC items.

    ITEMS is a file of STAC items: JSON (.json, .geojson), a document per line (.ndjson, .jsonl), or stac-geoparquet
    (.parquet).

    \b
    Examples:
      jp2batch manifest scenes/*.SAFE --bands B04,B08 -o scenes.csv
      jp2batch manifest items.json --bands B04 --metres 10 --rlevel 3 -o scenes.ndjson
      jp2batch manifest search.parquet --bands red,nir --alternate https -o scenes.csv
      jp2batch manifest scenes/*.SAFE --bands B04,B8A --bbox -8.99,53.20,-8.97,53.21 --resolution 20 -o scenes.csv
      jp2batch manifest s3://bucket/NAME.SAFE --bands TCI | jp2batch run - -o pictures/ --format png
    """
    from jp2batch.batch.catalog import list_requests
    from jp2batch.batch.manifest.write import format_manifest, write_manifest

    if output is not None:
        format_manifest([], output)  # check the name before reading
    levels = click.get_current_context().get_parameter_source("rlevel") is not ParameterSource.DEFAULT
    part: dict[str, Any] = {} if area is None else {**area.fields(), "mask": area.mask}
    requests = list_requests(
        sources,
        bands,
        metres=metres,
        rlevel=rlevel,
        window=window,
        **part,
        alternate=alternate,
        storage_options=storage.options_for(sources[0]),
    )
    if output is None:
        click.echo(format_manifest(requests, "manifest.ndjson", levels=levels), nl=False)
    else:
        write_manifest(requests, output, levels=levels)
        say(f"wrote {redact_path(output)}: {len(requests)} requests")


@click.command(short_help="Check the installation, the configuration and an image.")
@click.argument("path", required=False)
@scheduler_flags
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@storage_flags
def doctor(path: str | None, *, scheduler: str | Path | None, as_json: bool, storage: StorageFlags) -> None:
    """Check the installation, the configuration, and the image at PATH.

    Each problem comes with a hint. With --scheduler, also check that the workers of a cluster have the same
    versions and can read the image.

    \b
    Examples:
      jp2batch doctor
      jp2batch doctor s3://bucket/B04.jp2 --no-sign-request
      jp2batch doctor s3://bucket/B04.jp2 --scheduler tcp://host:8786
    """
    from jp2batch.compute.connection import configured_address
    from jp2batch.doctor.examine import examine

    found = examine(path, scheduler=scheduler or configured_address(), storage_options=storage.options_for(path or ""))
    findings = [replace(finding, detail=in_flags(finding.detail)) for finding in found]
    if as_json:
        click.echo(json.dumps([finding.to_dict() for finding in findings]))
    else:
        for finding in findings:
            click.echo(str(finding))
    if any(finding.status == "problem" for finding in findings):
        click.get_current_context().exit(FAILED)
