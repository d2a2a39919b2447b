"""Settings of the operator."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jp2batch.core.errors import InvalidRequest
from jp2batch.service.auth import Tokens
from jp2batch.service.roots import Root


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of requests and connections."""

    body: int = 64 * 1024
    """Size of a request body in bytes."""
    pixels: int = 400_000_000
    """Pixels of a response, times its bands: enough for every Sentinel-2 image."""
    queue: int = 64
    """Number of requests waiting for a worker."""
    deadline: float = 30.0
    """Seconds from the last byte of a request to its response.

    Of a response in parts, seconds for each part.
    """
    connections: int = 2000
    """Number of open connections."""
    idle: float = 75.0
    """Seconds a connection can be idle, or headers can take.

    More than the 60 s for which proxies keep connections.
    """
    receiving: float = 20.0
    """Seconds to receive a body."""
    sending: float = 60.0
    """Seconds to send a response, or a part of it."""
    unsent: int = 256 * 2**20
    """Size of all unsent responses in bytes."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the service.

    Raises
    ------
    InvalidRequest
        Settings contradict each other.
    """

    roots: Mapping[str, Root]
    """Roots of images, by name."""
    limits: Limits = field(default_factory=Limits)
    """Limits of requests and connections."""
    tokens: Tokens = field(default_factory=Tokens)
    """Tokens of clients."""
    cors_origins: frozenset[str] = frozenset()
    """Sites whose pages can send requests (CORS); "*": all."""
    address: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8080
    """TCP port to listen on; 0 picks a free port."""
    unix_socket: str | None = None
    """Socket to listen on, instead of address and port."""
    certfile: str | None = None
    """File of the certificate; turns on HTTPS."""
    keyfile: str | None = None
    """File of the private key, if not in the certificate file."""
    cache_control: str = "no-cache"
    """Cache-Control of images: by default, caches ask whether they are current."""
    behind_proxy: bool = False
    """True to trust X-Forwarded-For."""
    drain: float = 30.0
    """Seconds for running requests to finish after a stop signal."""

    def __post_init__(self) -> None:
        if self.keyfile and not self.certfile:
            raise InvalidRequest("", "keyfile= needs certfile=", "give both")
