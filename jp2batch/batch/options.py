"""RunOptions: how a batch is run and where its results go."""

from dataclasses import dataclass, field

from jp2batch.compute.engine import EngineOptions
from jp2batch.core.options import StorageOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How to run a batch whose results are stored."""

    output: str
    """Path or URL of the output; "-" is the standard output."""
    form: str | None = None
    """Format of the files in a folder."""
    records: str | None = None
    """Path of the records; by default beside the output."""
    resume: bool = False
    """Keep the results of an earlier run; do the rest."""
    retry_failed: bool = False
    """Do only the items that an earlier run has recorded as failed."""
    overwrite: bool = False
    """Replace the results of an earlier run."""
    fail_fast: bool = False
    """Stop at the first failure."""
    storage_options: StorageOptions = field(default=None, repr=False)
    """fsspec's options for the stores of images and output, or for each by its protocol."""
    progress: bool = False
    """Show a bar in a terminal or a notebook, and the address of the dashboard on stderr."""
    engine: EngineOptions = field(default_factory=EngineOptions)
    """Where the work is done."""

    @property
    def continues(self) -> bool:
        """True if an earlier run is continued."""
        return self.resume or self.retry_failed
