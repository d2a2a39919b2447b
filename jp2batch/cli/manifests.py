"""Batches of the command line: manifest, storage flags, cluster flags."""

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Literal

from jp2batch.array.virtual.references import write_references
from jp2batch.batch.build_index import IndexedImage, IndexSummary, build_index
from jp2batch.batch.deduplicate import reads_of
from jp2batch.batch.interrupts import ended_by_sigterm
from jp2batch.batch.item_source import ItemStream
from jp2batch.batch.manifest.read import open_manifest, read_manifest
from jp2batch.batch.options import RunOptions
from jp2batch.batch.plan import BatchPlan, plan_batch
from jp2batch.batch.progress import announce, progress_bar
from jp2batch.batch.report import BatchSummary
from jp2batch.batch.run_to import run_items
from jp2batch.cli.messages import say
from jp2batch.cli.storage_flags import Options, StorageFlags
from jp2batch.compute.engine import EngineOptions
from jp2batch.core.location import Location
from jp2batch.core.request import LOWEST, Request


def run_manifest(
    manifest: str,
    options: RunOptions,
    storage: StorageFlags,
    *,
    rlevel: int,
    root: str | None,
    on_begin: Callable[[BatchSummary], object] = lambda _: None,
) -> BatchSummary:
    """Read all images of a manifest, with the command line's options.

    Parameters
    ----------
    manifest, rlevel, root
        As for `jp2batch.read_manifest`.
    options : RunOptions
        Options of the run; its storage options come from `storage`.
    storage : StorageFlags
        Flags for the stores of images and output.
    on_begin : callable, optional
        As for `run_items`.

    Raises
    ------
    Jp2BatchError
        As for these functions; a ManifestError lists all bad rows that were found before an image was read.
    KeyboardInterrupt
        On SIGINT and, in the main thread, on SIGTERM. The records are kept.
    """
    with ended_by_sigterm():
        also = [] if Location.of(options.output).is_local else [options.output]
        own_options = storage.options_for_manifest(manifest, root)
        items = ItemStream(open_manifest(manifest, rlevel=rlevel, root=root, storage_options=own_options))
        remark_on_level(rlevel, items.first, visible=options.progress)
        options = replace(options, storage_options=storage.options_for(*(item.url for item in items.first), *also))
        return run_items(items, options, sources=[manifest], on_begin=on_begin)


def remark_on_level(rlevel: int, requests: Iterable[Request], *, visible: bool) -> None:
    """Print a note if every row has a level: --rlevel is unused."""
    if visible and rlevel != LOWEST and all(request.rlevel != rlevel for request in requests):
        say(f"--rlevel {rlevel} has no effect: each row of the manifest has its own")


def manifest_requests(
    manifest: str, storage: StorageFlags, *, rlevel: int, root: str | None
) -> tuple[list[Request], Options]:
    """Return the requests of a manifest, and storage options from the flags.

    Parameters
    ----------
    manifest, rlevel, root
        As for `jp2batch.read_manifest`.
    storage : StorageFlags
        The storage flags.

    Raises
    ------
    ManifestError
        Rows are bad, or the manifest has none.
    """
    options = storage.options_for_manifest(manifest, root)
    requests = read_manifest(manifest, rlevel=rlevel, root=root, storage_options=options)
    return requests, storage.options_for(*(request.url for request in requests))


def plan_manifest(
    manifest: str, storage: StorageFlags, *, rlevel: int, root: str | None, readers: int | None, progress: bool
) -> BatchPlan:
    """Plan all requests of a manifest, with the command line's flags.

    Raises
    ------
    ManifestError
        Rows are bad, all of which it names; or the manifest has none.
    """
    requests, storage_options = manifest_requests(manifest, storage, rlevel=rlevel, root=root)
    with progress_bar(len({id(read) for read in reads_of(requests)}), visible=progress and None) as bar:
        return plan_batch(
            requests, storage_options=storage_options, readers=readers, on_plan=lambda: bar.move("planned")
        )


def index_manifest(
    manifest: str,
    output: str,
    storage: StorageFlags,
    engine: EngineOptions,
    *,
    layout: Literal["kayrros"] | None = None,
    root: str | None,
    progress: bool,
) -> IndexSummary:
    """Build the index of a manifest's images, with the command line's options.

    Raises
    ------
    Jp2BatchError
        As for `build_index` and `jp2batch.read_manifest`.
    """
    requests, storage_options = manifest_requests(manifest, storage, rlevel=LOWEST, root=root)
    with contextlib.ExitStack() as stack:
        cluster = engine.start(stack)
        images = len({request.url for request in requests})
        bar = stack.enter_context(progress_bar(images, visible=progress and None))
        announce(cluster, visible=progress)
        failed: list[str] = []

        def on_lesson(lesson: IndexedImage) -> None:
            failed.extend([lesson.path] if lesson.error is not None else [])
            bar.move(f"{len(failed)} failed" if failed else "")

        return build_index(
            requests,
            output,
            layout=layout,
            client=cluster,
            storage_options=storage_options,
            output_options=storage.options_beside(output),
            on_lesson=on_lesson,
        )


def reference_manifest(
    manifest: str,
    output: str,
    target: Literal["kerchunk", "icechunk"],
    storage: StorageFlags,
    *,
    root: str | None,
) -> int:
    """Write references to a manifest's images; return their number.

    Raises
    ------
    Jp2BatchError
        As for `write_references` and `jp2batch.read_manifest`.
    """
    requests, storage_options = manifest_requests(manifest, storage, rlevel=LOWEST, root=root)
    urls = list(dict.fromkeys(request.url for request in requests))
    write_references(
        urls,
        output,
        format=target,
        storage_options=storage_options,
        output_options=storage.options_beside(output),
    )
    return len(urls)
