"""Files suspected of killing or hanging workers."""

from collections import OrderedDict
from dataclasses import dataclass, replace

from jp2batch.service.worker_actor import Hung, Job

_FILES = 1000  # remembered
_HANGS = 2  # of the decoder, after which a version of a file is refused
_SECONDS = 600.0  # for which it is refused


@dataclass(slots=True)
class Suspicion:
    """Failures of workers while reading a file."""

    died: bool = False
    """True if a worker died."""
    hangs: int = 0
    """Number of times the decoder hung on this version."""
    etag: str | None = None
    """Version of the file on which the decoder hung."""
    until: float = 0.0
    """End of the suspicion of hanging, by the event loop."""


class Suspects:
    """Suspect files; a good read clears a file."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, Suspicion] = OrderedDict()

    def marked(self, job: Job, now: float) -> Job:
        """Return a job with the suspicions against its file."""
        found = self._files.get(job.request.url, Suspicion())
        if found.hangs >= _HANGS and now < found.until:
            return replace(job, hung=(found.etag,))
        return replace(job, alone=True) if found.died else job

    def died(self, job: Job) -> None:
        """Note the death of a worker while running a job."""
        self._found(job).died = True

    def hung(self, job: Job, error: Hung, now: float) -> None:
        """Note a hang of the decoder while running a job."""
        found = self._found(job)
        same = found.etag == error.etag and now < found.until
        found.hangs, found.etag, found.until = found.hangs + 1 if same else 1, error.etag, now + _SECONDS

    def clear(self, job: Job) -> None:
        """Drop the suspicions against a file, which was read."""
        self._files.pop(job.request.url, None)

    def _found(self, job: Job) -> Suspicion:
        found = self._files.setdefault(job.request.url, Suspicion())
        if len(self._files) > _FILES:
            self._files.popitem(last=False)
        return found
