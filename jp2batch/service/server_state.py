"""State shared by the handlers of a server."""

from dataclasses import dataclass

from jp2batch.service.canary import Canary
from jp2batch.service.dispatcher import Dispatcher
from jp2batch.service.metrics import Metrics
from jp2batch.service.send_queue import SendQueue
from jp2batch.service.settings import Settings


@dataclass(slots=True)
class Service:
    """State shared by the handlers of a server."""

    settings: Settings
    pool: Dispatcher
    canary: Canary
    metrics: Metrics
    outbox: SendQueue
    open_requests: int = 0
    """Number of complete requests without a finished response."""
    draining: bool = False
    """True after a signal to stop."""
