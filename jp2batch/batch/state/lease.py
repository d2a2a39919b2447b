"""Lease of an output, for a single run at a time."""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from jp2batch.batch.state.place import StatePlace
from jp2batch.batch.state.run_state import RunState
from jp2batch.batch.state.store_watch import StoreWatch
from jp2batch.core.errors import Jp2BatchError, LeaseLost, StorageError, StoreUnavailable
from jp2batch.storage.conditional import VersionedBytes

_EVERY = 5.0  # seconds between renewals
_AGAIN = 1.0  # seconds until a failed renewal is repeated
_END = 2.0  # seconds to wait for a renewal when the run ends
_EXPIRY = 30.0  # seconds without a renewal, by the clock of the waiting run
_GLANCE = 1.0  # seconds between looks at another run's lease
_SETTLE = 2.0  # seconds until a store without conditional writes shows the last of several


class OutputLease:
    """The right to write an output, renewed by a thread until released.

    It is a file with the `RunState`. Stores with conditional writes let a single run take it; elsewhere the last writer
    has it. Another run waits until it has not been renewed for a while, by its own clock.
    """

    def __init__(self, place: StatePlace, watch: StoreWatch | None = None) -> None:
        self._watch = watch
        self._directory, self._name = place.directory, place.run
        self._path = f"{self._directory.url}/{self._name}"
        self._is_local = place.is_local
        self._state: RunState | None = None
        self._held: VersionedBytes | None = None
        self._is_atomic = False
        self._lock, self._released = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._renew, name="jp2batch-lease", daemon=True)
        self._lost: LeaseLost | None = None
        self.outcome = "stopped"

    def look(self) -> RunState | None:
        """Return the state of the last run; change nothing."""
        found = self._directory.read_version(self._name)
        return None if found is None else RunState.parse(found.data)

    def take(
        self, state: RunState, check: Callable[[], object], on_wait: Callable[[RunState], object]
    ) -> RunState | None:
        """Take the lease; return the state of the last run.

        Another run's lease must have ended or expired.

        Parameters
        ----------
        state : RunState
            State of this run.
        check : callable
            Called periodically; an exception it raises ends the wait.
        on_wait : callable
            Called with the state of a run that may still live.

        Raises
        ------
        StorageError
            Another run holds it; or it cannot be written.
        """
        while True:
            found = self._directory.read_version(self._name)
            holder = None if found is None else RunState.parse(found.data)
            if holder is not None and not holder.is_over():
                on_wait(holder)
                found = self._outwaited(holder, check)
                holder = holder if found is None else RunState.parse(found.data)
            held = self._directory.put(self._name, state.dumps(), found)
            if held is not None:
                break
        self._held = held
        self._settle(state, replaced=found is not None)
        self._state = state
        self._thread.start()
        return holder

    def update(self, **changes: object) -> None:
        """Change fields of the state, and write it.

        Raises
        ------
        LeaseLost
            Another run has taken the lease.
        """
        with self._lock:
            self._write(**changes)
        self.check()

    def check(self) -> None:
        """Raise if another run has taken the lease.

        Raises
        ------
        LeaseLost
            It has.
        """
        if self._lost is not None:
            raise self._lost

    def confirm(self) -> None:
        """Ask the store whether this run still has the lease.

        Raises
        ------
        LeaseLost
            It has not.
        """
        if self._own(self._directory.read_version(self._name)) is None:
            raise self._taken_over()

    def release(self, ended: str) -> None:
        """Write how the run ended.

        If that fails, the next run waits for the lease to expire.
        """
        self._released.set()
        if self._state is None:
            return
        self._thread.join(_END)
        if self._lost is None and not self._thread.is_alive():
            with contextlib.suppress(Jp2BatchError):
                self._write(ended=ended, overwrite=self._state.overwrite and ended != "complete")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.release(self.outcome)
        else:
            self.release("interrupted" if issubclass(kind, KeyboardInterrupt) else kind.__name__)

    def _outwaited(self, holder: RunState, check: Callable[[], object]) -> VersionedBytes | None:
        """Watch another run's lease until it has expired or ended.

        Raises
        ------
        StorageError
            It was renewed.
        """
        end = time.monotonic() + _EXPIRY
        while True:
            check()
            time.sleep(min(_GLANCE, max(0.0, end - time.monotonic())))
            found = self._directory.read_version(self._name)
            now = None if found is None else RunState.parse(found.data)
            if now is None or now.is_over() or time.monotonic() >= end:
                return found
            if (now.owner, now.beat) != (holder.owner, holder.beat):
                raise in_use(self._path, now)

    def _settle(self, state: RunState, *, replaced: bool) -> None:
        """Try conditional writes; without them, see which run wrote last.

        Raises
        ------
        StorageError
            Another run did.
        """
        if self._is_local:
            return
        refused = self._directory.put(self._name, state.dumps(), None) is None
        self._is_atomic = refused and self._held is not None and self._held.tag is not None
        if self._is_atomic or (refused and not replaced):
            return
        time.sleep(_SETTLE)
        found = self.look()
        if found is not None and found.owner != state.owner:
            raise in_use(self._path, found)

    def _renew(self) -> None:
        pause = _EVERY
        while not self._released.wait(pause) and self._lost is None:
            pause = _EVERY if self._is_renewed() else min(_AGAIN, _EVERY)

    def _is_renewed(self) -> bool:
        """Renew the lease; return whether the store has answered."""
        if self._watch is not None:
            self._watch.note_request()
        try:
            with self._lock:
                self._write()
        except StoreUnavailable:
            return False
        except Jp2BatchError:  # it is tried again, until another run takes it
            pass
        if self._watch is not None:
            self._watch.note_answer()
        return True

    def _write(self, **changes: object) -> None:
        """Write the state with changes, if the lease is still held."""
        if self._state is None or self._lost is not None:
            return
        state = replace(self._state, beat=self._state.beat + 1, **changes)  # type: ignore[arg-type]
        held = self._held
        if not self._is_atomic:
            held = self._own(self._directory.read_version(self._name))
        if held is not None:
            held = self._directory.put(self._name, state.dumps(), held)
        if held is None:  # also if the reply to an earlier write was lost
            held = self._own(self._directory.read_version(self._name))
            held = held and self._directory.put(self._name, state.dumps(), held)
        if held is None:
            self._lost = self._taken_over()
        else:
            self._state, self._held = state, held

    def _taken_over(self) -> LeaseLost:
        return LeaseLost(self._path, "another run has taken over this output", "see which run should go on")

    def _own(self, found: VersionedBytes | None) -> VersionedBytes | None:
        """Return a lease read from the store, if it is this run's."""
        state = None if found is None else RunState.parse(found.data)
        return found if state is not None and self._state is not None and state.owner == self._state.owner else None


def in_use(path: str, holder: RunState | None) -> StorageError:
    """Return the error for an output in use by another run."""
    who = f": {holder}" if holder is not None else ""
    return StorageError(path, f"another run is writing to it{who}", "wait for it, or give another name")
