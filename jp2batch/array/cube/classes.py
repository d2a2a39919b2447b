"""Classes of pixels to mask in a cube, such as clouds."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import SupportsIndex

from jp2batch.core.errors import CubeMismatch
from jp2batch.core.mission import SceneClasses

CLOUDS = "clouds"
"""Name of all classes of clouds and their shadows."""


@dataclass(frozen=True, slots=True)
class MaskedClasses:
    """Classes whose pixels become no data."""

    band: str
    """Band with the classes."""
    values: tuple[int, ...]
    """Values of the masked classes."""
    names: tuple[str, ...]
    """Their names."""


def masked_classes(mask: object, classes: SceneClasses | None) -> MaskedClasses | None:
    """Return the classes in `mask=`; None for True and False.

    Raises
    ------
    CubeMismatch
        It names no class, or the mission has none.
    """
    if isinstance(mask, bool):
        return None
    if classes is None:
        raise CubeMismatch("", "the mission of the images has no classes for mask=", "give mask=True or False")
    names = [mask] if isinstance(mask, str | SupportsIndex) else list(mask) if isinstance(mask, Iterable) else []
    values = sorted({value for name in names for value in _values(name, classes)})
    if not values:
        raise _not_a_class(classes)
    by_value = {value: name for name, value in classes.values.items()}
    return MaskedClasses(classes.band, tuple(values), tuple(by_value[value] for value in values))


def _values(name: object, classes: SceneClasses) -> list[int]:
    if isinstance(name, str):
        plain = name.strip().lower()
        found = classes.clouds if plain == CLOUDS else [plain] if plain in classes.values else []
        if found:
            return [classes.values[one] for one in found]
    elif isinstance(name, SupportsIndex) and not isinstance(name, bool) and int(name) in classes.values.values():
        return [int(name)]
    raise _not_a_class(classes)


def _not_a_class(classes: SceneClasses) -> CubeMismatch:
    known = ", ".join(classes.values)
    return CubeMismatch("", "mask= names no class", f'give True, False, "{CLOUDS}", or of {known}')
