"""What the command line asks for: a manifest, the flags of stores, and those of what does the work."""

from collections.abc import Mapping, Sequence
from typing import Any

from jp2batch.batch.cluster import engine_of
from jp2batch.batch.progress import remark_on_level
from jp2batch.batch.report import BatchSummary
from jp2batch.batch.runner import run_items
from jp2batch.batch.signals import ended_by_sigterm
from jp2batch.manifest.read import read_manifest
from jp2batch.request import Request
from jp2batch.storage.flags import STORAGE_FLAGS, options_for_manifest, options_from_flags

_ENGINE_FLAGS = ("scheduler", "workers", "threads", "memory_limit", "local_threads")


def run_manifest(manifest: str, output: str, *, rlevel: int, root: str | None, **options: Any) -> BatchSummary:
    """Do what a manifest asks for, with the options of the command line.

    Parameters
    ----------
    manifest, rlevel, root
        As for `jp2batch.read_manifest`.
    output : str
        As for `run_items`.
    **options
        Those of `engine_of`, of `jp2batch.storage.flags.options_from_flags`, and of `run_items`.

    Raises
    ------
    Jp2BatchError
        As for these; a ManifestError names all bad rows, and nothing has been begun.
    KeyboardInterrupt
        On SIGINT and, in the main thread, on SIGTERM. What is recorded is kept.
    """
    with ended_by_sigterm():
        flags = {name: options.pop(name) for name in STORAGE_FLAGS}
        engine = engine_of(**{name: options.pop(name) for name in _ENGINE_FLAGS})
        also = [output] if "://" in output else []
        requests, storage_options = manifest_requests(manifest, rlevel=rlevel, root=root, flags=flags, also=also)
        remark_on_level(rlevel, requests, shown=bool(options.get("progress")))
        return run_items(
            requests, output, engine=engine, storage_options=storage_options, sources=[manifest], **options
        )


def manifest_requests(
    manifest: str, *, rlevel: int, root: str | None, flags: Mapping[str, Any], also: Sequence[str] = ()
) -> tuple[list[Request], dict[str, Any]]:
    """Return what a manifest asks for, and the options that storage flags stand for.

    Parameters
    ----------
    manifest, rlevel, root
        As for `jp2batch.read_manifest`.
    flags : mapping
        Those of `jp2batch.storage.flags.STORAGE_FLAGS`.
    also : sequence of str
        URLs that the flags are for as well.

    Raises
    ------
    ManifestError
        Rows are bad, or there is none.
    """
    known = options_for_manifest(manifest, root, **flags)
    requests = read_manifest(manifest, rlevel=rlevel, root=root, storage_options=known)
    return requests, options_from_flags([*(request.url for request in requests), *also], **flags)
