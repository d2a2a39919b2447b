"""Plan a batch: sum the costs of its reads, without reading pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jp2batch.batch.deduplicate import reads_of
from jp2batch.compute.parallel import map_concurrently
from jp2batch.core import config, display
from jp2batch.core.costs import StoreCosts
from jp2batch.core.display import format_bytes
from jp2batch.core.errors import Jp2BatchError, OutsideImage
from jp2batch.core.options import StorageOptions
from jp2batch.core.request import Request
from jp2batch.core.traffic import Traffic
from jp2batch.image.info import ReadPlan
from jp2batch.image.inspect import plan_from
from jp2batch.storage.source import open_source

_TOGETHER = 128  # images per concurrent group


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
    outside: int = 0
    """Number of reads with areas outside their images."""
    traffic: Traffic = field(default_factory=Traffic)
    """Store requests and bytes to fetch."""
    errors: list[Jp2BatchError] = field(default_factory=list)
    """Errors of the reads without a plan."""
    _alone: float = 0.0
    _stores: dict[StoreCosts, Traffic] = field(default_factory=dict)

    def add(self, plan: ReadPlan, profile: StoreCosts) -> None:
        """Add the plan of a read."""
        self.planned += 1
        self.estimates += not plan.exact
        self._alone += plan.seconds
        for traffic in (self.traffic, self._stores.setdefault(profile, Traffic())):
            traffic.add(plan.requests, plan.bytes, plan.size)

    @property
    def seconds(self) -> float:
        """Estimated seconds of fetching.

        The maximum of the time of the readers and of the limits of each store: connections, bandwidth, quota.
        """
        allowed = [costs.seconds(store.requests, store.bytes_read, 1) for costs, store in self._stores.items()]
        return max([self._alone / self.readers, *allowed])

    def to_dict(self) -> dict[str, object]:
        """Return counts and sums as a JSON-compatible dict."""
        return {
            "items": self.items,
            "reads": self.reads,
            "planned": self.planned,
            "estimates": self.estimates,
            "failed": len(self.errors),
            "outside": self.outside,
            "requests": self.traffic.requests,
            "bytes": self.traffic.bytes_read,
            "bytes_whole": self.traffic.bytes_whole,
            "seconds": self.seconds,
            "readers": self.readers,
            "errors": [{"Path": error.path, "error": str(error)} for error in self.errors],
        }

    def text(self, title: str) -> str:
        """Return the plan as a table of text."""
        about = "about " if self.estimates else ""
        saved = self.traffic.bytes_whole - self.traffic.bytes_read
        rows = [
            ("items", f"{self.items}, served by {self.reads} reads"),
            ("fetches", f"{about}{self.traffic}"),
            ("saves", f"{about}{format_bytes(max(0, saved))}"),
            ("requests", f"{about}{self.traffic.requests}"),
            ("stores", "; ".join(map(str, self._stores)) or "none"),
            ("fetching", f"about {self.seconds:.3g} s, {self.readers} reads at a time"),
            ("exact", f"no: {self.estimates} of {self.planned} are estimates" if self.estimates else "yes"),
        ]
        rows += [("outside", f"{self.outside} reads")] if self.outside else []
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
    reads = [read for read, item in zip(reads_of(requests), requests, strict=True) if read is item]
    total = BatchPlan(len(requests), len(reads), readers or config.threads())
    for first in range(0, len(reads), _TOGETHER):
        some = reads[first : first + _TOGETHER]
        for found in map_concurrently(_planned, some, client=None, storage_options=storage_options):
            if isinstance(found, OutsideImage):
                total.outside += 1
            elif isinstance(found, Jp2BatchError):
                total.errors.append(found)
            else:
                total.add(*found)
            on_plan()
    return total


def _planned(
    request: Request, *, storage_options: StorageOptions = None
) -> tuple[ReadPlan, StoreCosts] | Jp2BatchError:
    try:
        source = open_source(request.location, storage_options=storage_options)
        return plan_from(source, request), source.profile
    except Jp2BatchError as error:
        return error if error.path else error.at(request.shown_path)
