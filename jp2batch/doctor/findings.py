"""Finding: the result of a check."""

from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of a check."""

    topic: str
    """Subject of the check."""
    status: Literal["ok", "missing", "problem"]
    """Outcome; "missing" is a problem only if the package is needed."""
    detail: str
    """Details, with a hint if it is a problem."""

    def to_dict(self) -> dict[str, object]:
        """Return the fields as a JSON-serializable dict."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.status:<7}  {self.topic:<13}  {self.detail}"
