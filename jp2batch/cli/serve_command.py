"""The command for the network: serve."""

import os
from typing import Any

import click

from jp2batch.cli.options import storage_flags


@click.command()
@click.option(
    "--root",
    "roots",
    multiple=True,
    required=True,
    envvar="JP2BATCH_ROOT",
    metavar="[NAME=]URL",
    help="Folder or bucket of images; or in the variable JP2BATCH_ROOT.",
)
@click.option("--address", default="127.0.0.1", show_default=True, help="Where it listens; 0.0.0.0: on all networks.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: a free one.")
@click.option("--unix-socket", metavar="FILE", help="Listen there instead.")
@click.option("--scheduler", metavar="ADDRESS", help="Work on the dask cluster with this scheduler.")
@click.option("--workers", type=click.IntRange(1), help="Processes to start.  [default: one a core]")
@click.option("--memory-limit", metavar="SIZE", help="Memory of each process, such as 2GB.")
@click.option("--queue", type=click.IntRange(0), default=64, show_default=True, help="Requests that may wait.")
@click.option("--deadline", type=click.FloatRange(0.1), default=30, show_default=True, help="Seconds for a request.")
@click.option(
    "--max-pixels", type=click.IntRange(1), default=16 * 2**20, show_default=True, help="Of an answer, times its bands."
)
@click.option("--max-body", type=click.IntRange(64), default=64 * 1024, show_default=True, help="Bytes of a request.")
@click.option("--max-connections", type=click.IntRange(1), default=2000, show_default=True, help="At once.")
@click.option("--drain", type=click.FloatRange(0), default=30, show_default=True, help="Seconds to finish at SIGTERM.")
@click.option("--token-file", metavar="FILE", help="Bearer tokens, one a line; or in the variable JP2BATCH_TOKENS.")
@click.option("--certfile", metavar="FILE", help="Speak TLS, with this certificate.")
@click.option("--keyfile", metavar="FILE", help="Its key, if it is not in the same file.")
@click.option("--cors-origin", "cors_origins", multiple=True, metavar="ORIGIN", help="A site whose pages may ask.")
@click.option("--behind-proxy", is_flag=True, help="Believe X-Forwarded-For, for the log.")
@storage_flags
def serve(**options: Any) -> None:
    """Answer POST /api/jp2 as the old web service did, for images below a root.

    A page to try it is at /, and what there is besides is told by /openapi.json. SIGTERM lets requests under way
    finish. A line of JSON for each request goes to stderr.

    \b
    Examples:
      jp2batch serve --root s3://bucket --no-sign-request
      jp2batch serve --root /data/images --port 8000 --token-file tokens.txt
      jp2batch serve --root /data/images --root archive=s3://bucket --scheduler tcp://host:8786
    """
    from jp2batch.service.app import serve
    from jp2batch.service.settings import from_options

    cluster = {name: options.pop(name) for name in ("scheduler", "workers", "memory_limit")}
    serve(from_options(**options, tokens=os.environ.get("JP2BATCH_TOKENS")), **cluster)
