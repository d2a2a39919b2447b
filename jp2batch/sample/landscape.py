"""Paint a landscape as seen by Sentinel-2, for sample products.

Sea, beaches, rivers, woods and fields have spectra of their own; clouds and their shadows change with the date. All is
made of smooth, seeded noise: the same arguments give the same pixels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.number[Any]]
Floats = NDArray[np.float32]

DATE = datetime(2022, 10, 5, 11, 54, 11, tzinfo=UTC)
"""Sensing time of the real product imitated by the samples."""
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
"""Available bands: the spectral bands of level 2A."""
_SPECTRA = {  # reflectance in per cent
    "deep water": (4.5, 5.4, 4.0, 2.0, 1.5, 1.2, 1.2, 1.0, 1.0, 0.8, 0.5, 0.4),
    "shallows": (8.0, 11.5, 12.5, 6.0, 5.0, 3.0, 2.5, 2.0, 2.0, 1.5, 1.0, 0.8),
    "sand": (15.0, 19.0, 24.0, 28.0, 29.0, 30.0, 31.0, 33.0, 34.0, 34.0, 38.0, 34.0),
    "wood": (2.2, 3.2, 5.8, 3.6, 6.5, 18.0, 23.0, 25.0, 27.0, 27.0, 13.0, 6.0),
    "crop": (3.6, 5.2, 11.0, 7.0, 12.0, 32.0, 40.0, 43.0, 45.0, 45.0, 21.0, 10.0),
    "soil": (7.5, 9.5, 14.0, 17.5, 19.0, 21.0, 23.0, 25.0, 27.0, 28.0, 34.0, 28.0),
    "cloud": (62.0, 60.0, 58.0, 58.0, 59.0, 60.0, 60.0, 61.0, 61.0, 50.0, 45.0, 38.0),
}


def scene(size: int = 1098, *, seed: int = 0, date: datetime = DATE, bands: Iterable[str] = BANDS) -> dict[str, Image]:
    """Paint the scene of a landscape on a date, at 10 m.

    Parameters
    ----------
    size : int
        Length of each side in pixels.
    seed : int
        Selects the landscape.
    date : datetime
        Selects the clouds; UTC, if it has no time zone.
    bands : iterable of str
        Names of the bands.

    Returns
    -------
    dict of str to ndarray, shape (size, size)
        The bands in digital numbers (uint16; reflectance times 10000, plus 1000), the aerosol thickness times 1000
        ("AOT", uint16) and the classes of level 2A ("SCL", uint8). All are 0 in the corner outside of the swath.
    """
    land = _land(seed, size)
    random = np.random.default_rng([seed, int(in_utc(date).timestamp())])
    clouds = _fractal(random, size, 1.75, coarsest=5)
    cloud = _step(clouds, *np.quantile(clouds, [0.86, 0.985]))
    shadow = np.roll(cloud, (-30, -14), (0, 1))
    rows, columns = np.indices((size, size)) / size
    seen = columns <= 1 - 0.28 * (rows - 0.5)
    classes = [cloud > 0.7, cloud > 0.2, shadow > 0.4, land.water > 0.5, land.vegetation > 0.4]
    images: dict[str, Image] = {
        "AOT": (seen * (90 + 12 * _fractal(random, size, 2.5)).clip(1)).astype(np.uint16),
        "SCL": (seen * np.select(classes, [9, 8, 3, 6, 4], 5)).astype(np.uint8),
    }
    for band in bands:
        column = BANDS.index(band)
        reflectance = land.reflectance(column) * (1 - 0.5 * shadow)
        reflectance += cloud * (_SPECTRA["cloud"][column] / 100 * (0.84 + 0.22 * cloud + 0.04 * clouds) - reflectance)
        noise = np.random.default_rng([seed, column]).standard_normal((size, size), np.float32)
        numbers = np.rint(1000 + 10_000 * reflectance + 15 * noise).clip(1, 32767)
        images[band] = (seen * numbers).astype(np.uint16)
    return images


@dataclass(frozen=True, slots=True)
class _Land:
    """A landscape: fields between bare and green, and covers in painting order."""

    green: Floats
    brightness: Floats
    covers: tuple[tuple[str, Floats], ...]
    water: Floats
    vegetation: Floats
    light: Floats

    def reflectance(self, column: int) -> Floats:
        spectrum = {name: values[column] / 100 for name, values in _SPECTRA.items()}
        painted: Floats = (spectrum["soil"] + self.green * (spectrum["crop"] - spectrum["soil"])) * self.brightness
        for name, opacity in self.covers:
            painted += opacity * (spectrum[name] - painted)
        return painted * self.light


def _land(seed: int, size: int) -> _Land:
    random = np.random.default_rng(seed)
    rows, columns = np.indices((size, size), np.float32) / size
    height = _fractal(random, size, 2.1) + 3.4 * columns - 2.6 * rows + 0.75
    green, brightness, hedge = _fields(random, size)
    course = _fractal(random, size, 2.3)
    river = 1 - _step(np.abs(course) / np.maximum(np.hypot(*np.gradient(course)), 1e-4), 2, 4.5)
    wood = _step(_fractal(random, size, 1.7) + 0.45 * height, 1.5, 1.75)
    sand = 1 - _step(height, 0.01, 0.06)
    sea = 1 - _step(height, -0.012, 0.012)
    depth = 1 - _step(height, -0.45, -0.02)
    water = np.maximum(sea, river)
    slope = sum(np.gradient(height)) * size / 220
    light = 1 + (slope.clip(-0.28, 0.3) + 0.035 * _fractal(random, size, 0.6)) * (1 - water)
    dark = np.maximum(0.75 * hedge, wood)
    covers = (("wood", dark), ("sand", sand), ("shallows", water), ("deep water", np.maximum(depth, 0.6 * river)))
    return _Land(green, brightness, covers, water, np.maximum(green, dark) * (1 - sand), light)


def _fields(random: np.random.Generator, size: int) -> tuple[Floats, Floats, Floats]:
    """Lay out fields; return their greenness, brightness and hedges.

    They are grouped into parishes, each with its own direction.
    """
    rows, columns = np.indices((size, size), np.float32)
    borders = _fractal(random, size, 2.2) * 0.45
    parish = (np.floor(rows / 170 + borders) * 31 + np.floor(columns / 190 - borders)).astype(np.int64) % 997
    spans = ((0, np.pi), (14, 26), (22, 60))
    angle, width, length = (random.uniform(low, high, 997)[parish] for low, high in spans)
    across = (columns * np.cos(angle) + rows * np.sin(angle) + 6 * borders) / width
    strip = np.floor(across)
    along = (rows * np.cos(angle) - columns * np.sin(angle) + 6 * borders) / length + strip * 0.618
    field = (strip * 7919 + np.floor(along) * 104729 + parish * 1299709).astype(np.int64) % 4093
    edge = np.minimum((0.5 - np.abs(across % 1 - 0.5)) * width, (0.5 - np.abs(along % 1 - 0.5)) * length)
    green, brightness = random.beta(1.3, 0.6, 4093)[field], random.uniform(0.8, 1.2, 4093)[field]
    return green.astype(np.float32), brightness.astype(np.float32), 1 - _step(edge, 0.4, 1.6)


def _fractal(random: np.random.Generator, size: int, roughness: float, coarsest: int = 1) -> Floats:
    """Make noise whose waves of frequency f have the amplitude f^-roughness.

    `coarsest` is the number of waves per side at the lowest frequency.
    """
    waves = np.fft.rfft2(random.standard_normal((size, size)))
    frequency = np.hypot(np.fft.fftfreq(size)[:, np.newaxis], np.fft.rfftfreq(size)).clip(coarsest / size)
    waves *= frequency**-roughness
    waves[0, 0] = 0
    field = np.fft.irfft2(waves, s=(size, size))
    normal: Floats = (field / field.std()).astype(np.float32)
    return normal


def _step(values: Image, low: float, high: float) -> Floats:
    """Return a smooth step from 0 at `low` to 1 at `high`."""
    t = ((values - low) / (high - low)).clip(0, 1).astype(np.float32)
    smooth: Floats = t * t * (3 - 2 * t)
    return smooth


def in_utc(date: datetime) -> datetime:
    """Return a date in UTC, the default time zone."""
    return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
