"""Batches of the command line: manifest, storage flags, cluster flags."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from jp2batch.batch.build_index import IndexedImage, IndexSummary, build_index
from jp2batch.batch.deduplicate import Reads
from jp2batch.batch.interrupts import ended_by_sigterm
from jp2batch.batch.manifest.read import read_manifest
from jp2batch.batch.plan import BatchPlan, plan_batch
from jp2batch.batch.progress import announce, progress_bar, remark_on_level
from jp2batch.batch.report import BatchSummary
from jp2batch.batch.run_to import run_items
from jp2batch.compute.cluster import engine_of, started
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import LOWEST, Request
from jp2batch.storage.flags import STORAGE_FLAGS, options_for_manifest, options_from_flags

_ENGINE_FLAGS = ("scheduler", "workers", "threads", "memory_limit", "local_threads")


def run_manifest(manifest: str, output: str, *, rlevel: int, root: str | None, **options: Any) -> BatchSummary:
    """Read all images of a manifest, with the command line's options.

    Parameters
    ----------
    manifest, rlevel, root
        As for `jp2batch.read_manifest`.
    output : str
        As for `run_items`.
    **options
        The options of `engine_of`, of `jp2batch.storage.flags.options_from_flags`, and of `run_items`.

    Raises
    ------
    Jp2BatchError
        As for these functions; a ManifestError lists all bad rows, and no image has been read.
    KeyboardInterrupt
        On SIGINT and, in the main thread, on SIGTERM. The records are kept.
    """
    with ended_by_sigterm():
        flags = {name: options.pop(name) for name in STORAGE_FLAGS}
        engine = engine_of(**{name: options.pop(name) for name in _ENGINE_FLAGS})
        also = [] if Location.of(output).is_local else [output]
        requests, storage_options = manifest_requests(manifest, rlevel=rlevel, root=root, flags=flags, also=also)
        remark_on_level(rlevel, requests, shown=bool(options.get("progress")))
        return run_items(
            requests, output, engine=engine, storage_options=storage_options, sources=[manifest], **options
        )


def manifest_requests(
    manifest: str, *, rlevel: int, root: str | None, flags: Mapping[str, Any], also: Sequence[str] = ()
) -> tuple[list[Request], dict[str, Any]]:
    """Return the requests of a manifest, and storage options from the flags.

    Parameters
    ----------
    manifest, rlevel, root
        As for `jp2batch.read_manifest`.
    flags : mapping
        Values of `jp2batch.storage.flags.STORAGE_FLAGS`.
    also : sequence of str
        Further URLs the flags apply to.

    Raises
    ------
    ManifestError
        Rows are bad, or the manifest has no rows.
    """
    known = options_for_manifest(manifest, root, **flags)
    requests = read_manifest(manifest, rlevel=rlevel, root=root, storage_options=known)
    return requests, options_from_flags([*(request.url for request in requests), *also], **flags)


def plan_manifest(
    manifest: str, *, rlevel: int, root: str | None, readers: int | None, progress: bool, **flags: Any
) -> BatchPlan:
    """Plan all requests of a manifest, with the command line's flags.

    Raises
    ------
    ManifestError
        Rows are bad (it lists all of them), or the manifest has no rows.
    """
    known = {name: flags[name] for name in STORAGE_FLAGS}
    requests, storage_options = manifest_requests(manifest, rlevel=rlevel, root=root, flags=known)
    with progress_bar(len(Reads(requests).all()), shown=progress and None) as bar:
        return plan_batch(
            requests, storage_options=storage_options, readers=readers, on_plan=lambda: bar.move("planned")
        )


def index_manifest(
    manifest: str, output: str, *, root: str | None, progress: bool, output_options: StorageOptions, **options: Any
) -> IndexSummary:
    """Build the index of a manifest's images, with the command line's options.

    Raises
    ------
    Jp2BatchError
        As for `build_index` and `jp2batch.read_manifest`.
    """
    flags = {name: options.pop(name) for name in STORAGE_FLAGS}
    requests, storage_options = manifest_requests(manifest, rlevel=LOWEST, root=root, flags=flags)
    clustered = any(value is not None for value in options.values())
    engine = engine_of(**options, local_threads=not clustered)
    with contextlib.ExitStack() as stack:
        client = started(stack, engine)
        images = len({request.url for request in requests})
        bar = stack.enter_context(progress_bar(images, shown=progress and None))
        announce(client, shown=progress)
        failed: list[str] = []

        def on_lesson(lesson: IndexedImage) -> None:
            failed.extend([lesson.path] if lesson.error is not None else [])
            bar.move(f"{len(failed)} failed" if failed else "")

        return build_index(
            requests,
            output,
            client=client,
            storage_options=storage_options,
            output_options=output_options,
            on_lesson=on_lesson,
        )
