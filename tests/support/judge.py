"""Judge reads of the package by OpenJPEG's decode, for variants and mutations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self, get_args

import numpy as np

from jp2batch.core.window import Window
from support.children import Child, ChildError, ChildLost
from support.forced import Asked, Outcome, Way, read_each
from support.whole_decode import Level, whole_decode

Kind = Literal[
    "both refuse",
    "equal",
    "equal, warning lost",
    "refused, warned",
    "refused",
    "more than OpenJPEG",
    "unjudged",
    "wrong, limit",
    "wrong, warned",
    "WRONG",
    "UNTYPED",
    "HANG",
    "CRASH",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""From the best to the worst. equal: OpenJPEG's pixels; its warning may be lost, i.e. not be among the reasons. both
refuse: so does OpenJPEG. refused, warned: OpenJPEG decodes it, with a warning. more than OpenJPEG: pixels, though
OpenJPEG gives an error. unjudged: OpenJPEG hangs or crashes. wrong, limit: other pixels than OpenJPEG's if packets are
left out, where that is a documented limit. wrong, warned: other pixels than OpenJPEG's, which has warned."""


_SLOW = 2.0  # seconds of OpenJPEG alone: no wonder that reads of the same file take long


@dataclass(frozen=True)
class Verdict:
    """Worst outcome of all reads of a file by a way."""

    way: Way
    kind: Kind
    asked: Asked | None = None
    detail: str = ""


@dataclass(frozen=True)
class Reference:
    """OpenJPEG's decodes of a file."""

    levels: tuple[Level, ...]
    """Decodes by rlevel, up to the first failure."""
    lost: str = ""
    """End of the child at the first missing rlevel, if it ended."""

    @property
    def size(self) -> tuple[int, int] | None:
        """Rows and columns of the full image."""
        array = self.levels[0].array if self.levels else None
        return None if array is None else (array.shape[1], array.shape[2])

    @property
    def seconds(self) -> float:
        return max((level.seconds for level in self.levels), default=0.0)

    @property
    def warned(self) -> bool:
        return any(level.warnings for level in self.levels)

    def level(self, rlevel: int) -> Level | None:
        return self.levels[rlevel] if rlevel < len(self.levels) else None


class Judge:
    """Two child processes: a reference decode, and a read by the package."""

    def __init__(self, *, deadline: float = 10.0) -> None:
        self._reference, self._reader = Child(deadline=deadline), Child(deadline=deadline)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._reference.close()
        self._reader.close()

    def reference(self, data: bytes) -> Reference:
        levels: list[Level] = []
        how = ""
        try:
            levels.extend(self._reference.stream(whole_decode, data))
        except ChildLost as lost:
            how = f"{lost.how}, {lost.detail}"
        return Reference(tuple(levels), how)

    def verdicts(
        self,
        data: bytes,
        reference: Reference,
        ways: Sequence[Way],
        asked: Sequence[Asked],
        *,
        sound: Reference | None = None,
        limited: bool = False,
    ) -> Iterator[Verdict]:
        """Return a verdict for each way of reading a file.

        `sound` is the reference of the file before it was damaged; `limited`: omitted packets can change the pixels.
        """
        for way in ways:
            found = []
            for one, outcome in self._read(data, way, asked):
                kind, detail = judged(one, outcome, reference, sound)
                if kind == "WRONG" and limited and one != (0, None):
                    kind = "wrong, limit"
                found.append(Verdict(way, kind, one, detail))
            yield max(found, key=lambda verdict: KINDS.index(verdict.kind))

    def outcomes(self, data: bytes, way: Way, asked: Sequence[Asked]) -> Iterator[Outcome]:
        """Read by a way, without a reference; a crash or a hang is a bug."""
        for _, outcome in self._read(data, way, asked):
            yield Outcome(bug=str(outcome)) if isinstance(outcome, ChildLost) else outcome

    def _read(self, data: bytes, way: Way, asked: Sequence[Asked]) -> Iterator[tuple[Asked, Outcome | ChildLost]]:
        left = list(asked)
        while left:
            try:
                for outcome in self._reader.stream(read_each, data, way, tuple(left)):
                    yield left.pop(0), outcome
            except ChildLost as lost:
                yield left.pop(0), lost
                return  # it would most probably go on so
            except ChildError as error:
                yield left.pop(0), Outcome(bug=str(error))
                return


def judged(  # noqa: PLR0911  # one line for each kind
    asked: Asked, outcome: Outcome | ChildLost, reference: Reference, sound: Reference | None
) -> tuple[Kind, str]:
    if isinstance(outcome, ChildLost):
        slow = outcome.how == "hang" and reference.seconds > _SLOW
        if slow or reference.lost.startswith(outcome.how):
            return "unjudged", f"both {outcome.how}"
        return ("HANG" if outcome.how == "hang" else "CRASH"), outcome.detail
    if outcome.bug:
        return "UNTYPED", outcome.bug.strip().splitlines()[-1]
    rlevel, window = asked
    level = reference.level(rlevel)
    if level is None or level.error:
        return _beyond(asked, outcome, reference, sound)
    expected, warned = level.window(window), f" (OpenJPEG warns: {level.warnings[0]})" if level.warnings else ""
    if outcome.values is None:
        if (expected is not None and not expected.size) or expected is None:
            return "both refuse", outcome.refusal
        return ("refused, warned" if warned else "refused"), outcome.refusal + warned
    if expected is not None and _same(outcome.values, expected):
        told = set(level.warnings) <= set(outcome.reasons)
        return ("equal" if told else "equal, warning lost"), warned
    text = _difference(outcome, expected) + _as_sound(asked, outcome, sound) + warned
    return ("wrong, warned" if warned else "WRONG"), text


def _beyond(asked: Asked, outcome: Outcome, reference: Reference, sound: Reference | None) -> tuple[Kind, str]:
    """Judge a read that OpenJPEG does not decode."""
    level = reference.level(asked[0])
    lost = level is None and bool(reference.lost)
    why = reference.lost if lost else level.error if level is not None else "no such rlevel"
    if outcome.values is None:
        return ("unjudged" if lost else "both refuse"), f"{outcome.refusal} ({why})"
    return ("unjudged" if lost else "more than OpenJPEG"), why + _as_sound(asked, outcome, sound)


def _as_sound(asked: Asked, outcome: Outcome, sound: Reference | None) -> str:
    level = None if sound is None else sound.level(asked[0])
    expected = None if level is None else level.window(asked[1])
    same = expected is not None and outcome.values is not None and _same(outcome.values, expected)
    return ", as before the mutation" if same else ""


def _same(values: np.ndarray, expected: np.ndarray) -> bool:
    return values.shape == expected.shape and np.array_equal(values.astype(np.int64), expected)


def _difference(outcome: Outcome, expected: np.ndarray | None) -> str:
    values = outcome.values
    if values is None or expected is None:
        return "pixels of components that do not fit together"
    told = f"by {outcome.located_by}, reasons {list(outcome.reasons)}"
    if values.shape != expected.shape:
        return f"shape {values.shape}, not {expected.shape} {told}"
    differs = values.astype(np.int64) != expected
    first = tuple(int(n) for n in np.argwhere(differs)[0])
    samples = f"{int(differs.sum())} of {differs.size} samples differ"
    return f"{samples}, first {first}: {values[first]}, not {expected[first]} {told}"


def questions(reference: Reference, rng: np.random.Generator, windows: int) -> list[Asked]:
    """Return reads of the whole image and windows at every rlevel, and at an invalid rlevel."""
    asked: list[Asked] = []
    usable = [level for level in reference.levels if not level.error]
    for level in usable:
        asked.append((level.rlevel, None))
        size = reference.size
        for _ in range(windows if size is not None and min(size) > 0 else 0):
            window = random_window(rng, size or (1, 1))
            found = level.window(window)
            if found is not None and found.size:
                asked.append((level.rlevel, window))
    return [*asked, (len(usable), None)]


def random_window(rng: np.random.Generator, size: tuple[int, int]) -> Window:
    """Return a random window, half of the time small."""
    bounds = []
    small = rng.random() < 0.5
    for length in size:
        start = int(rng.integers(0, length))
        stop = int(rng.integers(start + 1, length + 1))
        bounds.append((start, min(stop, start + 12) if small else stop))
    return Window(*bounds)
