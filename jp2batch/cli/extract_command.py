"""Command for the values of fields in many images."""

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from jp2batch.cli.batch_commands import ending, tell_summary
from jp2batch.cli.logs import logs_as_messages
from jp2batch.cli.options import FAILED, engine_flags, index_flag, use_index
from jp2batch.cli.storage_flags import StorageFlags, storage_flags
from jp2batch.core.location import Location

if TYPE_CHECKING:
    from jp2batch.compute.engine import EngineOptions


@click.command(short_help="Extract the values of points and polygons from images, as a table.")
@click.argument("images", metavar="ITEMS…", nargs=-1, required=True)
@click.option(
    "--geometry", required=True, metavar="FILE", help="Points and polygons: .geojson, .parquet (GeoParquet) or .csv."
)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="OUT",
    help="Table to write: NAME.parquet (a folder), .csv or .ndjson.",
)
@click.option("--id", metavar="NAME", help="Column or property with the ids of fields.  [default: id]")
@click.option("--crs", metavar="CODE", help="Reference system of the fields.  [default: longitude and latitude]")
@click.option("--bands", metavar="LIST", help="Bands to read, e.g. B04,B08.  [default: all]")
@click.option(
    "--stats", metavar="LIST", default="mean", show_default=True, help="Statistics, e.g. mean,median,count,p10."
)
@click.option("--pixels", is_flag=True, help="Write the samples themselves, in place of statistics.")
@click.option("--resolution", metavar="METRES", help="Largest distance of samples.  [default: pixels of each image]")
@click.option("--all-touched", is_flag=True, help="Take all samples that a polygon overlaps.")
@click.option("--scaled", is_flag=True, help="Write reflectance in place of numbers.")
@engine_flags
@click.option("--resume", is_flag=True, help="Continue an earlier run: read only the unfinished images.")
@click.option("--retry-failed", is_flag=True, help="Read only the images that failed in an earlier run.")
@click.option("--overwrite", is_flag=True, help="Replace the table of an earlier run.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first failure.")
@click.option("--max-failures", metavar="N|P%", help="Stop when more images failed: a number or a percentage.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--quiet", is_flag=True, help="Print only errors.")
@index_flag
@storage_flags
def extract(
    images: tuple[str, ...],
    *,
    geometry: str,
    output: str,
    id: str | None,  # noqa: A002
    crs: str | None,
    bands: str | None,
    stats: str,
    pixels: bool,
    resolution: str | None,
    all_touched: bool,
    scaled: bool,
    engine: "EngineOptions",
    resume: bool,
    retry_failed: bool,
    overwrite: bool,
    fail_fast: bool,
    max_failures: str | None,
    as_json: bool,
    quiet: bool,
    table: str | None,
    storage: StorageFlags,
) -> None:
    """Extract the values of points and polygons from the images of ITEMS.

    ITEMS are products, STAC items or images. The table has a row per field, image and band. Each image is read once,
    and a record tells how its read ended.

    \b
    Examples:
      jp2batch extract scenes/*.SAFE --geometry fields.geojson --bands B04,B08 -o series.parquet
      jp2batch extract scenes/*.SAFE --geometry fields.geojson --bands B04,B08 -o series.parquet --resume
      jp2batch extract items.json --geometry sites.csv --bands B04 --stats mean,std,count -o series.parquet
    """
    from jp2batch.batch.extract.extract import delivery_of, image_requests
    from jp2batch.batch.extract.stored import extract_to
    from jp2batch.batch.interrupts import ended_by_sigterm
    from jp2batch.batch.options import RunOptions

    deliver = delivery_of(
        geometry, bands, None if pixels else stats, id, crs, all_touched, scaled, storage.options_beside(geometry)
    )
    options = RunOptions(
        output=output,
        resume=resume,
        retry_failed=retry_failed,
        overwrite=overwrite,
        fail_fast=fail_fast,
        max_failures=max_failures,
        progress=not quiet,
        engine=engine,
    )
    with logs_as_messages(quiet=quiet), ending(output, as_json=as_json, quiet=quiet) as begun, ended_by_sigterm():
        use_index(table, storage)
        own = storage.options_for_manifest(images[0], None)
        requests = image_requests(list(images), bands, resolution=resolution, storage_options=own)
        also = [] if Location.of(output).is_local else [output]
        options = replace(options, storage_options=storage.options_for(*(one.url for one in requests), *also))
        summary = extract_to(requests, deliver, options, sources=[geometry], on_begin=begun.append)
    tell_summary(summary, as_json=as_json, quiet=quiet)
    click.get_current_context().exit(FAILED if summary.failed or summary.left else 0)
