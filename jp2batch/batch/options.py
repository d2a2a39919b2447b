"""Options of a batch with stored results."""

from dataclasses import dataclass, field

from jp2batch.batch.outputs.row_formats import RowFormat
from jp2batch.compute.engine import EngineOptions
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Options of a batch with stored results."""

    output: str
    """Path or URL of the output; "-" is the standard output."""
    form: str | None = None
    """Format of the files in a folder."""
    rows: RowFormat | None = None
    """Format of the parts of a table, other than rows of samples."""
    records: str | None = None
    """Local file of the records, or of a copy of them."""
    resume: bool = False
    """Continue an earlier run: read only the unfinished items."""
    retry_failed: bool = False
    """Read only the items failed in an earlier run."""
    overwrite: bool = False
    """Replace the output of an earlier run."""
    verify: bool = False
    """Compare the content of existing results with the records, too."""
    clean: bool = False
    """Remove recorded results of other items, and incomplete files."""
    fail_fast: bool = False
    """Stop at the first failure."""
    max_failures: str | int | None = None
    """Failures allowed: a number, or a percentage such as "5%"."""
    storage_options: StorageOptions = field(default=None, repr=False)
    """Storage options of images and output, or a mapping by protocol."""
    progress: bool = False
    """Show a progress bar and the dashboard's address on stderr."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    """Threads, local processes or a cluster."""

    def __post_init__(self) -> None:
        for name in ("output", "records"):
            if path := getattr(self, name):
                object.__setattr__(self, name, Location.of(path).expanded.text)

    @property
    def continues(self) -> bool:
        """True to continue an earlier run."""
        return self.resume or self.retry_failed
