"""Judge many variants or mutations, and print a table: `python tests/long_exactness.py variants 0 20000 --jobs 2`.

Likewise `headers`, files without PLT, and `header-mutations` (`support/packet_header_cases.py`).

A single seed is repeated by `python tests/long_exactness.py variants 1234`; `--save FOLDER` writes the bytes of those
that fail; `python tests/long_exactness.py files PATH…` judges files.
"""

import argparse
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import local
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import numpy as np

from support.children import Child, ChildError, ChildLost
from support.forced import WAYS, Way
from support.judge import KINDS, Judge, Kind, Reference, Verdict, questions
from support.mutations import Mutation, mutation
from support.packet_header_cases import packet_header_case, packet_header_mutation
from support.variants import Variant, variant

T = TypeVar("T")
TLM = b"\xff\x55"


@dataclass(frozen=True)
class Case:
    """A judged file."""

    seed: int
    description: str
    data: bytes
    verdicts: tuple[Verdict, ...]
    failures: tuple[Verdict, ...]
    note: str = ""


def is_failure(verdict: Verdict, found: Variant) -> bool:
    """Tell whether the verdict on a variant is a fault of the package."""
    if verdict.kind == "refused":
        return not found.refusable
    return verdict.kind in ("wrong, warned", "WRONG", "UNTYPED", "HANG", "CRASH")


def possible(ways: Iterable[Way], data: bytes) -> list[Way]:
    """Leave out a way that could only be another one."""
    return [way for way in ways if way != "tlm" or TLM in data]


class Workshop:
    """The child processes of one thread."""

    def __init__(self) -> None:
        self.maker, self.judge = Child(), Judge()

    def close(self) -> None:
        self.maker.close()
        self.judge.__exit__(None, None, None)

    def make(self, function: Callable[[int], T], seed: int) -> T | str:
        """Return a variant or a mutation, or why there is none."""
        try:
            return self.maker.call(function, seed)  # type: ignore[no-any-return]
        except ChildLost as lost:
            return f"encoder: {lost}"
        except ChildError as error:
            return f"generator: {str(error).strip().splitlines()[-1]}"

    def header(self, seed: int, *, ways: Sequence[Way] = WAYS, windows: int = 3) -> Case:
        """Judge a file without PLT."""
        return self.variant(seed, ways=ways, windows=windows, make=packet_header_case)

    def header_mutation(self, seed: int, *, ways: int = 4, windows: int = 1) -> Case:
        """Judge a mutation of a file without PLT."""
        return self.mutation(seed, ways=ways, windows=windows, make=packet_header_mutation)

    def variant(
        self,
        seed: int,
        *,
        ways: Sequence[Way] = WAYS,
        windows: int = 3,
        make: Callable[[int], Variant] = variant,
    ) -> Case:
        """Judge a variant."""
        found = self.make(make, seed)
        if isinstance(found, str):
            return Case(seed, str(seed), b"", (), (), found)
        reference = self.judge.reference(found.data)
        asked = questions(reference, np.random.default_rng(seed), windows)
        verdicts = tuple(self.judge.verdicts(found.data, reference, possible(ways, found.data), asked))
        failures = tuple(verdict for verdict in verdicts if is_failure(verdict, found))
        return Case(seed, found.description, found.data, verdicts, failures, _note(reference))

    def file(self, path: Path, *, windows: int = 3) -> Case:
        """Judge a file, by all ways."""
        data = path.read_bytes()
        reference = self.judge.reference(data)
        asked = questions(reference, np.random.default_rng(1), windows)
        verdicts = tuple(self.judge.verdicts(data, reference, possible(WAYS, data), asked))
        failures = tuple(v for v in verdicts if KINDS.index(v.kind) >= KINDS.index("refused"))
        return Case(0, str(path), data, verdicts, failures, _note(reference))

    def mutation(
        self, seed: int, *, ways: int = 4, windows: int = 1, make: Callable[[int], Mutation] = mutation
    ) -> Case:
        """Judge a mutation, by some of the ways."""
        found = self.make(make, seed)
        if isinstance(found, str):
            return Case(seed, str(seed), b"", (), (), found)
        rng = np.random.default_rng(seed)
        reference, sound = self.judge.reference(found.data), self.judge.reference(found.base.data)
        asked = questions(reference, rng, windows)[:8]
        some = tuple(WAYS[int(n)] for n in sorted(rng.choice(len(WAYS), ways, replace=False)))
        verdicts = tuple(self.judge.verdicts(found.data, reference, some, asked, sound=sound, limited=found.limited))
        failures = tuple(verdict for verdict in verdicts if verdict.kind in ("WRONG", "UNTYPED", "HANG", "CRASH"))
        return Case(seed, found.description, found.data, verdicts, failures, _note(reference))


def _note(reference: Reference) -> str:
    if reference.lost:
        return f"OpenJPEG: {reference.lost}"
    first = reference.levels[0]
    if first.error:
        return f"OpenJPEG: {first.error}"
    return f"OpenJPEG warns: {first.warnings[0]}" if first.warnings else ""


class Workshops:
    """Workshops that judge seeds, some at a time."""

    def __init__(self, jobs: int = 2) -> None:
        self._pool, self._own, self._all = ThreadPoolExecutor(jobs), local(), list[Workshop]()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._pool.shutdown(cancel_futures=True)
        for workshop in self._all:
            workshop.close()

    def cases(
        self,
        kind: Literal["variant", "mutation", "header", "header_mutation", "file"],
        seeds: Iterable[Any],
        **options: Any,
    ) -> Iterator[Case]:
        """Iterate over judged seeds, or paths, in their order."""

        def judged(seed: Any) -> Case:
            if not hasattr(self._own, "workshop"):
                self._own.workshop = Workshop()
                self._all.append(self._own.workshop)
            return getattr(self._own.workshop, kind)(seed, **options)  # type: ignore[no-any-return]

        return self._pool.map(judged, seeds)


def report(found: Sequence[Case], seconds: float) -> str:
    """Return the table: verdicts by way, then each failing seed."""
    counts: dict[Way, Counter[Kind]] = defaultdict(Counter)
    for case in found:
        for verdict in case.verdicts:
            counts[verdict.way][verdict.kind] += 1
    used = [kind for kind in KINDS if any(kind in row for row in counts.values())]
    lines = [
        f"{len(found)} files in {seconds:.0f} s",
        " ".join(["way".ljust(14), *(kind.rjust(len(kind)) for kind in used)]),
    ]
    for way, row in counts.items():
        lines.append(" ".join([way.ljust(14), *(str(row[kind]).rjust(len(kind)) for kind in used)]))
    made = Counter(case.note.split(":")[0] for case in found if case.note)
    lines += [f"{number} x {note}" for note, number in made.items()]
    failing = [case for case in found if case.failures]
    lines.append(f"{len(failing)} files fail")
    for case in failing:
        lines.append(case.description)
        groups: dict[tuple[Kind, str], list[Verdict]] = defaultdict(list)
        for verdict in case.failures:
            groups[verdict.kind, verdict.detail.split(" by ")[0]].append(verdict)
        lines += [
            f"    {kind} by {', '.join(v.way for v in group)}: {group[0].asked} {group[0].detail[:300]}"
            for (kind, _), group in groups.items()
        ]
    return "\n".join([*lines, *_noted(found, "refused"), *_noted(found, "more than OpenJPEG")])


def _noted(found: Sequence[Case], kind: Kind) -> Iterator[str]:
    """Iterate over the cases of a kind that are no failures, once for each message."""
    groups: dict[str, list[Case]] = defaultdict(list)
    for case in found:
        for verdict in case.verdicts:
            if verdict.kind == kind and verdict not in case.failures:
                groups[re.sub(r"\d+", "#", verdict.detail)].append(case)
    if groups:
        yield f"{kind}, as may be:"
    for message, some in groups.items():
        yield f"    {len({case.seed for case in some})} x {message[:200]}; for instance {some[0].description[:400]}"


def _seeds(first: int, stop: int | None = None) -> range:
    return range(first, first + 1 if stop is None else stop)


def _save(case: Case, kind: str, folder: Path | None) -> None:
    if case.failures and folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        suffix = "jp2" if case.data[4:8] == b"jP  " else "j2k"
        (folder / f"{kind}_{case.seed}.{suffix}").write_bytes(case.data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["variants", "mutations", "headers", "header-mutations", "files"])
    parser.add_argument("what", nargs="+", help="one seed; the first seed, and that after the last; or paths")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--windows", type=int, help="how many windows of each are read at each rlevel")
    parser.add_argument("--save", type=Path, help="folder for the bytes of files that fail")
    given = parser.parse_args()
    begin = time.monotonic()
    todo = [Path(path) for path in given.what] if given.kind == "files" else _seeds(*map(int, given.what))
    found: list[Case] = []
    with Workshops(given.jobs) as workshops, suppress(KeyboardInterrupt):  # the table of what is done is of use, too
        options = {} if given.windows is None else {"windows": given.windows}
        for case in workshops.cases(given.kind.removesuffix("s").replace("-", "_"), todo, **options):
            found.append(case)
            _save(case, given.kind, given.save)
            if len(found) % 100 == 0:
                failing = sum(bool(case.failures) for case in found)
                print(f"{len(found)} of {len(todo)}, {failing} fail", file=sys.stderr)  # noqa: T201
    print(report(found, time.monotonic() - begin))  # noqa: T201
    return int(any(case.failures for case in found))


if __name__ == "__main__":
    sys.exit(main())
