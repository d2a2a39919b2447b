"""The command serve."""

import os
from pathlib import Path

import click

from jp2batch.cli.options import engine_options, scheduler_flags, wait_flag
from jp2batch.cli.storage_flags import StorageFlags, storage_flags


@click.command()
@click.option(
    "--root",
    "roots",
    multiple=True,
    required=True,
    envvar="JP2BATCH_ROOT",
    metavar="[NAME=]URL",
    help="Folder or bucket of images; or use the variable JP2BATCH_ROOT.",
)
@click.option("--address", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0: all networks.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="TCP port; 0: a free port."
)
@click.option("--unix-socket", metavar="FILE", help="Listen on this socket instead.")
@scheduler_flags
@wait_flag
@click.option("--workers", type=click.IntRange(1), help="Worker processes.  [default: one per core]")
@click.option("--memory-limit", metavar="SIZE", help="Memory per worker process, e.g. 2GB.")
@click.option("--queue", type=click.IntRange(0), default=64, show_default=True, help="Requests that can wait.")
@click.option("--deadline", type=click.FloatRange(0.1), default=30, show_default=True, help="Seconds per request.")
@click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=400_000_000,
    show_default=True,
    help="Largest response, times bands.",
)
@click.option(
    "--max-body", type=click.IntRange(64), default=64 * 1024, show_default=True, help="Largest body in bytes."
)
@click.option("--max-connections", type=click.IntRange(1), default=2000, show_default=True, help="Open connections.")
@click.option("--drain", type=click.FloatRange(0), default=30, show_default=True, help="Seconds to finish at SIGTERM.")
@click.option(
    "--token-file", metavar="FILE", help="File of bearer tokens, one a line; or use the variable JP2BATCH_TOKENS."
)
@click.option("--certfile", metavar="FILE", help="Serve HTTPS with this certificate.")
@click.option("--keyfile", metavar="FILE", help="Private key, if not in the same file.")
@click.option(
    "--cors-origin", "cors_origins", multiple=True, metavar="ORIGIN", help="Site whose pages can send requests."
)
@click.option(
    "--cache-control", default="no-cache", show_default=True, metavar="VALUE", help="Cache-Control of GET /api/jp2."
)
@click.option("--behind-proxy", is_flag=True, help="Log the client address of X-Forwarded-For.")
@storage_flags
def serve(
    *,
    roots: tuple[str, ...],
    address: str,
    port: int,
    unix_socket: str | None,
    scheduler: str | Path | None,
    wait_workers: str,
    workers: int | None,
    memory_limit: str | None,
    queue: int,
    deadline: float,
    max_pixels: int,
    max_body: int,
    max_connections: int,
    drain: float,
    token_file: str | None,
    certfile: str | None,
    keyfile: str | None,
    cors_origins: tuple[str, ...],
    cache_control: str,
    behind_proxy: bool,
    storage: StorageFlags,
) -> None:
    """Serve POST /api/jp2, with the contract of the old web service.

    The page / tries it out; /openapi.json describes all paths. At SIGTERM, running requests finish. Each request is
    logged to stderr as a line of JSON.

    \b
    Examples:
      jp2batch serve --root s3://bucket --no-sign-request
      jp2batch serve --root /data/images --port 8000 --token-file tokens.txt
      jp2batch serve --root /data/images --root archive=s3://bucket --scheduler tcp://host:8786
    """
    from jp2batch.service.app import serve
    from jp2batch.service.auth import Tokens
    from jp2batch.service.roots import parse_roots
    from jp2batch.service.settings import Limits, Settings

    settings = Settings(
        roots=parse_roots(roots, storage.options_for),
        limits=Limits(body=max_body, pixels=max_pixels, queue=queue, deadline=deadline, connections=max_connections),
        tokens=Tokens(token_file, os.environ.pop("JP2BATCH_TOKENS", None)),
        cors_origins=frozenset(origin.rstrip("/") for origin in cors_origins),
        address=address,
        port=port,
        unix_socket=unix_socket,
        certfile=certfile,
        keyfile=keyfile,
        cache_control=cache_control,
        behind_proxy=behind_proxy,
        drain=drain,
    )
    serve(settings, engine_options(scheduler, workers, memory_limit=memory_limit, wait_workers=wait_workers))
