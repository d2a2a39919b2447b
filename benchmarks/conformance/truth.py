"""The right pixels: OpenJPEG's decode of the whole file, in the sizes of T.800 (B-15)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from jp2batch.core.window import Window
from support import whole_decode
from support.whole_decode import Level

_MARK = b"\xff\x4f\xff\x51"


@dataclass(frozen=True, slots=True)
class Form:
    """The components of an image in a form."""

    name: str
    """Empty: as the file demands."""
    planes: tuple[NDArray[np.int32], ...]
    bits: tuple[int, ...]
    signed: bool
    samplings: tuple[tuple[int, int], ...]
    """Rows and columns of the reference grid for a sample of each component."""

    def enlarged(self) -> Iterator[NDArray[np.int32]]:
        """Iterate over the components, their samples repeated to the size of the first."""
        rows, columns = self.planes[0].shape
        for plane, sampling in zip(self.planes, self.samplings, strict=True):
            factors = [step // base for step, base in zip(sampling, self.samplings[0], strict=True)]
            yield plane.repeat(factors[0], 0).repeat(factors[1], 1)[:rows, :columns]

    def on_reference_grid(self) -> "Form":
        """Return the form with each sample repeated for all points of the grid."""
        pairs = zip(self.planes, self.samplings, strict=True)
        planes = tuple(plane.repeat(dy, 0).repeat(dx, 1) for plane, (dy, dx) in pairs)
        name = "enlarged to the reference grid"
        return replace(self, name=name, planes=planes, samplings=((1, 1),) * len(planes))

    def cut(self, window: Window) -> "Form":
        """Return the form of a window, given in samples of the first component."""
        planes = []
        for plane, sampling in zip(self.planes, self.samplings, strict=True):
            rows, columns = (
                slice(start // (step // base), -(-stop // (step // base)))
                for (start, stop), step, base in zip(window, sampling, self.samplings[0], strict=True)
            )
            planes.append(plane[rows, columns])
        return replace(self, planes=tuple(planes))


@dataclass(frozen=True, slots=True)
class Truth:
    """The right pixels of a file."""

    levels: dict[int, tuple[Form, ...]]
    """Forms at rlevel 0, and at the lowest resolution; without forms: OpenJPEG refuses."""

    @property
    def lowest(self) -> int:
        """Return the rlevel of the lowest resolution."""
        return max(self.levels)

    def window(self, scale: int) -> Window | None:
        """Return the window to read, which crosses tiles."""
        for form in self.levels[0]:
            rows, columns = form.planes[0].shape
            return Window(_span(100 * scale, 130, rows), _span(110 * scale, 180, columns))
        return None

    def view(self, rlevel: int, window: Window | None) -> list[Form]:
        """Return the forms of a part."""
        forms = list(self.levels[rlevel])
        forms += [form.on_reference_grid() for form in forms if max(form.samplings[0]) > 1]
        if window is None:
            return forms
        cut = [form.cut(window) for form in forms]
        if any(max(form.samplings[0]) > 1 for form in forms):
            (r0, r1), (c0, c1) = window
            dy, dx = forms[0].samplings[0]
            elsewhere = Window((r0 // dy, -(-r1 // dy)), (c0 // dx, -(-c1 // dx)))
            cut.append(replace(forms[0].cut(elsewhere), name="window counted on the reference grid"))
        return cut


def truth_of(data: bytes, before: bytes | None = None, full_only: bool = False) -> Truth:
    """Decode a file, or the file before it was damaged; call it in a process of its own."""
    with mock.patch.object(whole_decode, "MOST_SAMPLES", 1 << 26):
        right = _levels(data if before is None else before, full_only)
        others = {}
        if any(kind in data for kind in (b"cmap", b"cdef")):
            others["palette or channel order not applied"] = _levels(data[data.index(_MARK) :], full_only)
        if before is not None:
            others["missing tiles are blank"] = _levels(data, full_only)  # OpenJPEG may make something of it
    if not right:
        return Truth({0: ()})
    wanted = {0, len(right) - 1}
    forms = {rlevel: [_form("", right[rlevel])] for rlevel in wanted}
    for name, levels in others.items():
        for rlevel in wanted & {*range(len(levels))}:
            forms[rlevel].append(_form(name, levels[rlevel]))
    return Truth({rlevel: tuple(found) for rlevel, found in forms.items()})


def _levels(data: bytes, full_only: bool) -> list[Level]:
    levels = whole_decode.whole_decode(data)
    return [level for level in islice(levels, 1 if full_only else None) if not level.error]


def _form(name: str, level: Level) -> Form:
    planes = level.planes
    return Form(
        name,
        tuple(plane.values for plane in planes),
        tuple(plane.bits for plane in planes),
        planes[0].signed,
        tuple(plane.sampling for plane in planes),
    )


def _span(start: int, length: int, all_of_it: int) -> tuple[int, int]:
    return (start, start + length) if start + length <= all_of_it else (0, all_of_it)
