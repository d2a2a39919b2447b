"""What the operator decides."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jp2batch.core.errors import InvalidRequest
from jp2batch.service.auth import Tokens
from jp2batch.service.roots import Root


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may take, and how many there may be."""

    body: int = 64 * 1024
    """Bytes of the body of a request."""
    pixels: int = 16 * 2**20
    """Pixels of an answer, times its bands."""
    queue: int = 64
    """Requests that wait for a worker."""
    deadline: float = 30.0
    """Seconds for a request, from its last byte to the first one of its answer."""
    connections: int = 2000
    """Connections at once."""
    idle: float = 75.0
    """Seconds that a connection may be idle, and that headers may take; proxies keep theirs for 60."""
    receiving: float = 20.0
    """Seconds that a client has to send its body."""
    sending: float = 60.0
    """Seconds that a client has to take its answer."""
    unsent: int = 256 * 2**20
    """Bytes of answers that clients have not taken yet."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the service is run.

    Raises
    ------
    InvalidRequest
        Settings contradict each other.
    """

    roots: Mapping[str, Root]
    """Where images are, by name."""
    limits: Limits = field(default_factory=Limits)
    """What requests may take."""
    tokens: Tokens = field(default_factory=Tokens)
    """Who may ask."""
    cors_origins: frozenset[str] = frozenset()
    """Pages of which other sites may ask from a browser; "*": all."""
    address: str = "127.0.0.1"
    """Where it listens."""
    port: int = 8080
    """Likewise; 0: a free one."""
    unix_socket: str | None = None
    """Likewise, instead of both."""
    certfile: str | None = None
    """Its certificate: it speaks TLS."""
    keyfile: str | None = None
    """The key of that, if it is not in the same file."""
    behind_proxy: bool = False
    """Whether X-Forwarded-For tells the truth."""
    drain: float = 30.0
    """Seconds that requests under way have, when it is told to stop."""

    def __post_init__(self) -> None:
        if self.keyfile and not self.certfile:
            raise InvalidRequest("", "keyfile= means nothing without certfile=", "give both")
