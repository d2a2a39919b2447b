"""A run with an output, in steps: plan, begin, write, finish."""

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence, Sized
from functools import partial
from pathlib import Path

from jp2batch.batch.checks import check_apart, check_existing, check_options, check_records_apart, check_writable
from jp2batch.batch.columns import columns_of
from jp2batch.batch.commit import Committer
from jp2batch.batch.deduplicate import Pair, ReadQueue
from jp2batch.batch.failures import FailureLimit
from jp2batch.batch.item_source import ItemSource
from jp2batch.batch.options import RunOptions
from jp2batch.batch.output_names import OutputNames
from jp2batch.batch.outputs import sink_for
from jp2batch.batch.progress import Progress, announce, progress_bar, tell
from jp2batch.batch.record_files import RecordFiles
from jp2batch.batch.records.entry import void_line
from jp2batch.batch.records.log import FileLog, NoLog, RecordLog
from jp2batch.batch.records.table import TABLE_COLUMNS
from jp2batch.batch.report import BatchSummary
from jp2batch.batch.resume import EarlierRun, Plan, plan_run
from jp2batch.batch.run import results
from jp2batch.batch.state.lease import OutputLease, in_use
from jp2batch.batch.state.locks import locked
from jp2batch.batch.state.run_state import RunState, fingerprint_of
from jp2batch.batch.state.store_watch import StoreWatch
from jp2batch.batch.writing_errors import preparing, storing
from jp2batch.compute.checked_cluster import CheckedCluster
from jp2batch.compute.result import Result
from jp2batch.core.errors import InvalidRequest, Jp2BatchError, StorageError


class StoredRun:
    """A batch with an output: planned, begun, written, finished."""

    _plan: Plan
    _names: OutputNames
    _earlier: EarlierRun

    def __init__(
        self, items: ItemSource, options: RunOptions, sources: Sequence[str], check: Callable[[], object]
    ) -> None:
        check_options(options)
        self._failures = FailureLimit(options.max_failures)
        self._options, self._items, self._check_interrupt = options, items, check
        self.watch = StoreWatch(options.output, options.engine.patience, check, self._tell)
        self._replaced = 0  # records
        self._has_waited = False
        self._output = sink_for(options.output, options.form, options.storage_options, options.rows)
        self._files, place = RecordFiles.of(options), self._output.place
        own = self._files.own
        self._lease = None if place is None else OutputLease(place, self.watch)
        self._log: RecordLog = (
            place.log(own, self._confirm_lease) if place else NoLog() if own is None else FileLog(own)
        )
        self._locks = list(place.locks(own)) if place else [own] if own else []
        self._paths = [*self._locks[-1:], *([self._output.path] if self._output.path else []), *self._files.paths]
        check_apart(self._paths, sources)
        check_records_apart(self._output.path, [*([own] if own else []), *self._files.paths])
        if self._output.needs_all:
            items.read_all()
        self._fingerprint = fingerprint_of(items.first) if items.whole else secrets.token_hex()  # not known yet
        self._output.expect(items.first, self._fingerprint)
        self.summary = BatchSummary(len(items.first))

    def plan(self) -> bool:
        """Compare items with earlier runs; return whether to begin."""
        with preparing(self._options.output):
            self._compare(None if self._lease is None else self._lease.look())
        return bool(self._plan.todo or self._options.continues or not self._items.whole)

    def begin(self, stack: contextlib.ExitStack) -> CheckedCluster | None:
        """Start the cluster, then take the lease of the output."""
        check = self._check_interrupt
        with contextlib.ExitStack() as starting:
            is_needed = self._plan.todo or not self._items.whole
            cluster = self._options.engine.start(starting, self._output.packages, check) if is_needed else None
            check()
            with preparing(self._options.output):
                if is_needed:
                    self._output.prepare(None if cluster is None else cluster.client)
                refusal = self._refusal
                stack.enter_context(locked(self._locks, make=self._output.is_folder, refusal=refusal))
                self._take_lease(stack, check)
            stack.push(starting.pop_all())  # the cluster ends before the lock is released
        return cluster

    def write(self, stack: contextlib.ExitStack, cluster: CheckedCluster | None) -> None:
        """Read the remaining items; store and count their results."""
        options, failures = self._options, self._failures
        committer = self._opened(stack)
        stack.callback(self._items.close)

        def tick() -> None:
            self._check_interrupt()
            self._check_lease()
            self.watch.look()
            with storing(options.output):
                committer.tick()

        announce(cluster, visible=options.progress)
        total, before = len(self._items.first), len(self._items.first) - len(self._plan.todo)
        bar = stack.enter_context(progress_bar(total, before=before, visible=options.progress and None))
        self.watch.begin(partial(bar.tell, topic="store"))
        parts = self._parts(committer, bar, tick)
        reads = ReadQueue(lambda: next(parts))
        stream = results(reads, cluster, self._output.deliver, options.storage_options, check=tick, tell=bar.tell)
        for found in stack.enter_context(contextlib.closing(stream)):
            for _, result in reads.results(found):
                with storing(options.output):
                    committer.add(result)
                bar.add(result)
                failures.add(result)
            if options.fail_fast and found.status == "failed":
                return
        with storing(options.output):
            committer.flush()
            self._finish()

    def _compare(self, state: RunState | None) -> None:
        """Compare the items with the records and results of earlier runs."""
        self._earlier = EarlierRun(self._output, self._log, state)
        check_existing(self._earlier, self._options)
        check_writable(self._output, self._paths)
        self._names = OutputNames(self._items.ids)
        same = state is not None and state.fingerprint == self._fingerprint
        self._plan = plan_run(self._earlier, self._items.first, self._names, self._options, same=same)
        self.summary.kept, self.summary.outside = self._plan.kept, self._plan.outside

    def _take_lease(self, stack: contextlib.ExitStack, check: Callable[[], object]) -> None:
        """Take the lease; compare again if another run has written meanwhile."""
        if self._lease is None or self._output.place is None:
            return
        stack.enter_context(self._lease)
        state = self._state_after(self._earlier.state)
        before = self._lease.take(state, check, self._tell_of_wait)
        if self._has_waited or self._log.stamp() != self._earlier.stamp:
            self._compare(before)
        state = self._state_after(before)
        now = self._output.place.directory.file(self._output.place.run)
        if state.since is None and now is not None:
            since = self._output.position(now.modified, overwrite=self._options.overwrite)
            self._lease.update(since=since, overwrite=state.overwrite)

    def _state_after(self, before: RunState | None) -> RunState:
        """Return the state of this run, which may continue another."""
        overwrite = self._options.overwrite or (self._options.continues and before is not None and before.overwrite)
        is_same = before is not None and before.fingerprint == self._fingerprint and not self._options.overwrite
        since = before.since if before is not None and is_same else None
        return RunState.begin(self._fingerprint, overwrite=overwrite, since=since)

    def _opened(self, stack: contextlib.ExitStack) -> Committer:
        """Open output and records; record adopted results."""
        committer = Committer(self._output, self._log, self._check_lease, self._count)
        with preparing(self._options.output):
            self._output.open(overwrite=self._options.overwrite)
            stack.callback(self._output.close)
            self._log.open()
            stack.callback(self._log.close)
            if self._options.overwrite and self._earlier.book.lines:
                self._log.append([void_line(None)])
            self._prepare(self._plan, committer)
        stack.enter_context(_committed(committer, self._options.output))
        return committer

    def _parts(
        self, committer: Committer, bar: Progress, tick: Callable[[], object]
    ) -> Iterator[Sequence[Pair] | None]:
        """Iterate over items to run; None at the end.

        The items are none while no more are known.
        """
        yield self._plan.todo
        while (items := self._items.more()) is not None:
            tick()
            if not items:
                yield []
                continue
            plan = plan_run(self._earlier, items, self._names, self._options, same=False)
            if not plan.ids.issuperset(self._earlier.outdated(plan.names)):
                problem = "an id of the manifest is of another request than before, and shares its output"
                raise InvalidRequest(self._options.output, problem, "give it another id, or another output")
            self.summary.requests += len(items)
            self.summary.kept += plan.kept
            self.summary.outside += plan.outside
            bar.grow(len(items), len(items) - len(plan.todo))
            with storing(self._options.output):
                self._prepare(plan, committer)
            if plan.todo:
                yield plan.todo
        yield None

    def _prepare(self, plan: Plan, committer: Committer) -> None:
        """Void the records of outputs about to be replaced; record adopted results."""
        outdated = [] if self._options.overwrite else self._earlier.outdated(plan.names)
        self._replaced += sum(item.id in self._earlier.book for item, _ in plan.todo)
        if outdated:
            self._log.append([void_line(outdated)])
            self._earlier.forget(outdated)
        for result in plan.adopted:
            committer.add(result)
        committer.flush()

    def _finish(self) -> None:
        """Tidy output and records after a complete run."""
        options, bad = self._options, self._items.refusal()
        self.summary.refuse(bad)
        if bad is None and (options.clean or (options.overwrite and self.summary.done)):
            recorded = options.clean or not self._output.is_exclusive
            gone = self._earlier.others(self._names, recorded=recorded)
            halves = self._output.temporaries() if options.clean else set()
            if gone or halves:
                self._tell(f"{options.output}: removing {_counted(gone, halves)}")
                self._log.append([void_line(self._earlier.ids_of(gone))])
                self._output.remove(gone | halves)
        self._output.tidy(self._log)
        is_untidy = self._earlier.is_untidy(self._replaced, overwrite=options.overwrite)
        self._log.compact(untidy=is_untidy or options.clean)
        self._files.write_table(self._log, columns_of(self._items.first, TABLE_COLUMNS), options.storage_options)
        if self._lease is not None:
            self._lease.outcome = "complete"

    def _count(self, result: Result) -> None:
        """Count a result whose record is durable."""
        if result.adopted:
            self.summary.kept += 1
        else:
            self.summary.add(result)

    def _check_lease(self) -> None:
        if self._lease is not None:
            self._lease.check()

    def _confirm_lease(self) -> None:
        if self._lease is not None:
            self._lease.confirm()

    def _refusal(self, path: Path) -> StorageError:
        return in_use(str(path), None if self._lease is None else self._lease.look())

    def _tell(self, text: str) -> None:
        tell(text or "the store answers again", visible=self._options.progress)

    def _tell_of_wait(self, holder: RunState) -> None:
        self._has_waited = True
        text = f"{self._options.output}: waiting 30 s, in case that another run is still writing: {holder}"
        self._tell(text)


@contextlib.contextmanager
def _committed(committer: Committer, output: str) -> Iterator[None]:
    """Commit the last results at the end of a `with` block."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(Jp2BatchError), storing(output):  # the first error is told
            committer.flush()
        raise
    with storing(output):
        committer.flush()


def _counted(gone: Sized, halves: Sized) -> str:
    """Return the numbers of results and incomplete files in words."""
    results = f"{len(gone)} result{'s' * (len(gone) != 1)} of other items" if gone else ""
    files = f"{len(halves)} incomplete file{'s' * (len(halves) != 1)}" if halves else ""
    return " and ".join(filter(None, [results, files]))
