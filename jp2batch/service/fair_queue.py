"""Queue of waiting jobs, fair between clients."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from jp2batch.compute.result import Result
from jp2batch.service.worker_actor import Job

OWN = ""
"""Client of the service's own turns."""

_LATELY = 10.0  # seconds


@dataclass(eq=False, slots=True)
class Turn:
    """A job, its client, and the future of its result."""

    job: Job
    client: str
    """Name of the client, for fairness."""
    result: "asyncio.Future[Result]"
    """Done when the client has the result, or has disconnected."""
    losses: int = 0
    """Number of workers lost while running the job."""


class FairQueue(asyncio.Queue[Turn]):
    """Waiting turns; clients with the fewest running jobs are next.

    Clients with equally many take turns. A client leaves a place free for others, if any has asked lately. A turn whose
    worker was lost is the next of its client.

    Parameters
    ----------
    places : callable
        Returns the number of places of all workers.
    """

    def __init__(self, places: Callable[[], int]) -> None:
        super().__init__()
        self._places = places
        self._asked: dict[str, float] = {}  # times of the latest turns of clients, in order

    def _init(self, maxsize: int) -> None:  # noqa: ARG002
        self.running: Counter[str] = Counter()
        """Number of running jobs of each client."""
        self._turns: dict[str, deque[Turn]] = {}
        self._latest = ""

    def __iter__(self) -> Iterator[Turn]:
        return (turn for turns in self._turns.values() for turn in turns)

    def qsize(self) -> int:
        """Return the number of waiting turns."""
        return sum(map(len, self._turns.values()))

    def empty(self) -> bool:
        """Return whether no waiting turn may run."""
        return not self._eligible()

    def rival(self, client: str) -> Turn | None:
        """Return the newest turn of a client with more turns, if any."""
        longest = max(self._turns.values(), key=len, default=deque[Turn]())
        return longest[-1] if len(longest) > len(self._turns.get(client, ())) + 1 else None

    def remove(self, turn: Turn) -> None:
        """Remove a turn, if it waits."""
        turns = self._turns.get(turn.client)
        if turns is not None and turn in turns:
            turns.remove(turn)
            if not turns:
                del self._turns[turn.client]

    def _put(self, turn: Turn) -> None:
        now = asyncio.get_running_loop().time()
        self._asked.pop(turn.client, None)
        self._asked[turn.client] = now
        while next(iter(self._asked.values())) < now - _LATELY:
            del self._asked[next(iter(self._asked))]
        turns = self._turns.setdefault(turn.client, deque())
        turns.insert(0 if turn.losses else len(turns), turn)

    def _eligible(self) -> list[str]:
        """Return the clients whose next turn may run."""
        most = max(1, self._places() - 1)
        alone = len(self._asked.keys() - {OWN}) < 2
        return [name for name in self._turns if alone or self.running[name] < most]

    def _get(self) -> Turn:
        client = min(self._eligible(), key=lambda name: (self.running[name], name == self._latest))
        self._latest = client
        turns = self._turns.pop(client)
        turn = turns.popleft()
        if turns:
            self._turns[client] = turns  # behind the others
        return turn
