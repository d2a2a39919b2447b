"""Finding: one thing that the doctor has looked at."""

from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    topic: str
    """What it is."""
    status: Literal["ok", "missing", "problem"]
    """"missing" is no problem where nobody needs it."""
    detail: str
    """What was found, and the hint."""

    def to_dict(self) -> dict[str, object]:
        """Return the fields as a dict that json can write."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.status:<7}  {self.topic:<13}  {self.detail}"
