"""Plan a batch: sum the costs of its reads, without reading pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jp2batch.batch.deduplicate import Reads
from jp2batch.compute.parallel import map_concurrently
from jp2batch.core import config, display
from jp2batch.core.costs import StoreCosts
from jp2batch.core.errors import Jp2BatchError
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import Request
from jp2batch.image.info import ReadPlan, format_bytes
from jp2batch.image.inspect import plan_from
from jp2batch.storage.source import open_source

_TOGETHER = 128  # images per concurrent group


@dataclass(slots=True)
class _Share:
    """Requests and bytes of the reads from stores with equal costs."""

    requests: int = 0
    bytes: int = 0


@dataclass(slots=True)
class BatchPlan:
    """Sums of the plans of a batch."""

    items: int
    """Number of items in the batch."""
    reads: int
    """Number of reads; equal requests are read once."""
    readers: int
    """Number of concurrent reads."""
    planned: int = 0
    """Number of planned reads."""
    estimates: int = 0
    """Number of planned reads with an estimated cost."""
    requests: int = 0
    """Number of store requests."""
    bytes: int = 0
    """Bytes to fetch."""
    bytes_whole: int = 0
    """Size of the files in bytes."""
    errors: list[Jp2BatchError] = field(default_factory=list)
    """Errors of the reads without a plan."""
    _alone: float = 0.0
    _stores: dict[StoreCosts, _Share] = field(default_factory=dict)

    def add(self, plan: ReadPlan, profile: StoreCosts) -> None:
        """Add the plan of a read."""
        self.planned += 1
        self.estimates += not plan.exact
        self.requests += plan.requests
        self.bytes += plan.bytes
        self.bytes_whole += plan.size
        self._alone += plan.seconds
        share = self._stores.setdefault(profile, _Share())
        share.requests += plan.requests
        share.bytes += plan.bytes

    @property
    def seconds(self) -> float:
        """Estimated seconds of fetching.

        The maximum of the time of the readers and of the limits of each store: connections, bandwidth, quota.
        """
        allowed = [store.seconds(share.requests, share.bytes, 1) for store, share in self._stores.items()]
        return max([self._alone / self.readers, *allowed])

    def to_dict(self) -> dict[str, object]:
        """Return counts and sums as a JSON-compatible dict."""
        return {
            "items": self.items,
            "reads": self.reads,
            "planned": self.planned,
            "estimates": self.estimates,
            "failed": len(self.errors),
            "requests": self.requests,
            "bytes": self.bytes,
            "bytes_whole": self.bytes_whole,
            "seconds": self.seconds,
            "readers": self.readers,
            "errors": [{"Path": error.path, "error": str(error)} for error in self.errors],
        }

    def text(self, title: str) -> str:
        """Return the plan as a table of text."""
        about = "about " if self.estimates else ""
        share = f" ({self.bytes / self.bytes_whole:.2%})" if self.bytes_whole else ""
        rows = [
            ("items", f"{self.items}, served by {self.reads} reads"),
            ("fetches", f"{about}{format_bytes(self.bytes)} of {format_bytes(self.bytes_whole)}{share}"),
            ("saves", f"{about}{format_bytes(max(0, self.bytes_whole - self.bytes))}"),
            ("requests", f"{about}{self.requests}"),
            ("stores", "; ".join(map(str, self._stores)) or "none"),
            ("fetching", f"about {self.seconds:.3g} s, {self.readers} reads at a time"),
            ("exact", f"no: {self.estimates} of {self.planned} are estimates" if self.estimates else "yes"),
        ]
        return display.text(title, rows + ([("failed", f"{len(self.errors)} reads")] if self.errors else []))


def plan_batch(
    requests: Sequence[Request],
    *,
    storage_options: StorageOptions = None,
    readers: int | None = None,
    on_plan: Callable[[], object] = lambda: None,
) -> BatchPlan:
    """Plan the reads of requests, fetching only headers.

    Parameters
    ----------
    requests : sequence of Request
        Requests to plan.
    storage_options : mapping, optional
        fsspec's options for the stores.
    readers : int, optional
        Concurrent reads; by default one per core, as in `jp2batch run`.
    on_plan : callable, optional
        Called after each read is planned.
    """
    reads = Reads(requests).all()
    total = BatchPlan(len(requests), len(reads), readers or config.threads())
    for first in range(0, len(reads), _TOGETHER):
        some = reads[first : first + _TOGETHER]
        for found in map_concurrently(_planned, some, client=None, storage_options=storage_options):
            if isinstance(found, Jp2BatchError):
                total.errors.append(found)
            else:
                total.add(*found)
            on_plan()
    return total


def _planned(
    request: Request, *, storage_options: StorageOptions = None
) -> tuple[ReadPlan, StoreCosts] | Jp2BatchError:
    try:
        source = open_source(request.url, storage_options=storage_options)
        return plan_from(source, request.rlevel, request.window), source.profile
    except Jp2BatchError as error:
        return error if error.path else error.at(request.shown_path)
