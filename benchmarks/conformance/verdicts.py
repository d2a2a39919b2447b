"""Comparison of what a reader returned with the right pixels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.conformance.child import Outcome
from benchmarks.conformance.peers import Planes
from benchmarks.conformance.truth import Form

Kind = Literal["exact", "other form", "wrong", "refused", "crashed", "hung", "not offered", "not installed", "no truth"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of a view."""

    kind: Kind
    why: str = ""


def judge(outcome: Outcome, forms: Sequence[Form]) -> Verdict:
    """Compare an outcome with the right pixels in all their forms."""
    if outcome.fate != "read":
        return Verdict(outcome.fate, outcome.words)
    if not forms:
        return Verdict("no truth", "OpenJPEG refuses the file")
    if _differing(outcome.planes, forms[0].planes) == 0:
        return Verdict("exact")
    closest: tuple[float, str, Planes] = (1.0, "", ())
    for form in forms:
        for name, planes, tolerance in _conversions(form):
            share = _differing(outcome.planes, planes, tolerance)
            name = ", ".join(filter(None, [form.name, name]))  # noqa: PLW2901
            if share == 0:
                return Verdict("other form", name)
            if share is not None and share < closest[0]:
                closest = share, name, planes
    return Verdict("wrong", _described(outcome.planes, forms[0].planes, *closest))


def _described(planes: Planes, right: Planes, share: float, name: str, closest: Planes) -> str:
    """Describe a difference, from the closest form of the image."""
    if share > 0.9 and _shapes(planes) != _shapes(right):
        return f"{_shapes(planes)} rather than {_shapes(right)}"
    if share > 0.9:
        return "all samples differ" if share == 1 else f"{share:.0%} of the samples differ"
    total = sum(plane.size for plane in closest)
    part = f"{share:.1%}" if share > 0.001 else f"{round(share * total)} of {total}"
    return f"{part} of the samples differ, by at most {_largest(planes, closest)}{f' ({name})' if name else ''}"


def _differing(planes: Planes, right: Planes, tolerance: int = 0) -> float | None:
    """Return the share of samples that differ; None if the shapes differ."""
    if [plane.shape for plane in planes] != [plane.shape for plane in right]:
        return None
    pairs = zip(planes, right, strict=True)
    differing = sum(int((np.abs(plane.astype(np.int64) - wanted) > tolerance).sum()) for plane, wanted in pairs)
    return differing / sum(plane.size for plane in right)


def _largest(planes: Planes, right: Planes) -> int:
    pairs = zip(planes, right, strict=True)
    return max(int(np.abs(plane.astype(np.int64) - wanted).max()) for plane, wanted in pairs)


def _conversions(form: Form) -> Iterator[tuple[str, Planes, int]]:
    """Iterate over usual conversions of an image: name, planes, tolerance."""
    yield "", form.planes, 0
    large = list(form.enlarged())
    if any(plane.shape != old.shape for plane, old in zip(large, form.planes, strict=True)):
        yield "components enlarged to the size of the first", large, 0
        yield "converted to red, green, blue", _rgb(*large), 2
    for bits in (8, 16):
        name = f"{'scaled' if min(form.bits) < bits else 'reduced'} to {bits} bits"
        if set(form.bits) == {bits}:
            name = "signed samples offset"
        for rounding in (True, False):
            pairs = zip(large, form.bits, strict=True)
            yield name, [_scaled(plane, own, bits, form.signed, rounding) for plane, own in pairs], 0


def _scaled(plane: NDArray[Any], own: int, bits: int, signed: bool, rounding: bool) -> NDArray[Any]:
    values = plane.astype(np.int64) + (1 << own - 1) * signed
    if own <= bits:
        return np.asarray(values << bits - own)
    return np.asarray(np.minimum((values + (1 << own - bits - 1) * rounding) >> own - bits, (1 << bits) - 1))


def _rgb(luma: NDArray[Any], blue: NDArray[Any], red: NDArray[Any]) -> Planes:
    """Convert sYCC of 8 bits."""
    blue, red = blue - 128.0, red - 128.0
    colours = luma + 1.402 * red, luma - 0.344 * blue - 0.714 * red, luma + 1.772 * blue
    return [np.clip(np.rint(colour), 0, 255).astype(np.int64) for colour in colours]


def _shapes(planes: Planes) -> str:
    """Describe the shapes of planes."""
    shapes = [plane.shape for plane in planes]
    sides = [" x ".join(map(str, shape)) for shape in shapes]
    return f"{len(shapes)} x {sides[0]}" if len(set(shapes)) == 1 else " + ".join(sides)
