"""The commands around reading: sample, doctor."""

import json
from typing import Any

import click

from jp2batch.cli.options import FAILED, storage_flags, storage_options


@click.command()
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


@click.command()
@click.argument("path", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@storage_flags
def doctor(path: str | None, as_json: bool, **storage: Any) -> None:
    """Tell what is installed, found and configured; and whether the image at PATH can be read.

    \b
    Examples:
      jp2batch doctor
      jp2batch doctor s3://bucket/B04.jp2 --no-sign-request
    """
    from jp2batch.doctor import examine

    findings = examine(path, storage_options=storage_options(path, storage))
    if as_json:
        click.echo(json.dumps([finding.to_dict() for finding in findings]))
    else:
        for finding in findings:
            click.echo(str(finding))
    if any(finding.status == "problem" for finding in findings):
        click.get_current_context().exit(FAILED)
