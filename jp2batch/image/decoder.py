"""The decoder interface, and the choice of the decoder for reads."""

import pkgutil
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jp2batch.core import config
from jp2batch.core.errors import ConfigurationError
from jp2batch.jpeg2000.geometry.grid import Rect
from jp2batch.jpeg2000.syntax.headers import MainHeader


@dataclass(frozen=True, slots=True)
class Samples:
    """Sample type of a component or, palettes applied, of a channel."""

    bits: int
    """Bits per sample."""
    signed: bool
    """True if samples are signed."""


class Decoder(Protocol):
    """Decodes codestreams, and knows its own limits.

    Several threads may decode concurrently by the same object.
    """

    def decode(
        self,
        codestream: bytes,
        out: NDArray[np.generic],
        *,
        reduce: int,
        origin: tuple[int, int],
        area: tuple[int, int, int, int] | None,
        threads: int,
    ) -> list[str]:
        """Decode a codestream or JP2 file into an array; return warnings.

        Parameters
        ----------
        codestream : bytes
            A complete codestream or JP2 file.
        out : ndarray, shape (components, height, width)
            Receives the samples; may be a view. Samples beyond it are dropped.
        reduce : int
            Resolution levels to drop.
        origin : (int, int)
            Row and column of the decoded image that come first in `out`.
        area : (int, int, int, int), optional
            x0, y0, x1, y1 on the reference grid: the part to decode; `origin` counts from its first sample.
        threads : int
            Threads that it may use: more than one only if few blocks are decoded.

        Raises
        ------
        CorruptImage
            It cannot be decoded, or has another shape.
        """

    def samples(self, codestream: bytes, *, reduce: int) -> list[Samples]:
        """Decode a whole file; return the sample type of each channel.

        Raises
        ------
        CorruptImage
            It cannot be decoded.
        """

    def check(self, header: MainHeader) -> None:
        """Refuse an image with features beyond this decoder.

        Raises
        ------
        UnsupportedImage
            The message says why.
        """

    def memory(
        self, header: MainHeader, area: Rect, rlevel: int, *, tiles: int, dropped: bool, part: Rect | None = None
    ) -> int:
        """Estimate the memory for decoding in bytes.

        Parameters
        ----------
        area : Rect
            The area of the codestream, on the reference grid.
        tiles : int
            Tiles of the codestream.
        dropped : bool
            Whether the codestream has the resolution levels that the decoder drops.
        part : Rect, optional
            The part of the area to decode; by default all of it.
        """

    def border(self, header: MainHeader, reduce: int) -> int | None:
        """Return the number of surrounding samples to decode for exact samples.

        None: all samples. `header` describes all tiles of the codestream.
        """

    def most_tiles(self, header: MainHeader) -> int:
        """Return the maximum number of tiles in a codestream."""


def default_decoder() -> Decoder:
    """Make the configured decoder for an image.

    Raises
    ------
    ConfigurationError
        The configuration names no class, or making its object fails.
    """
    try:
        decoder: Decoder = pkgutil.resolve_name(config.decoder())()
    except (ImportError, AttributeError, TypeError, ValueError, OSError, RuntimeError) as error:
        problem = f"jp2batch.decoder names no decoder that can be made ({type(error).__name__})"
        raise ConfigurationError("", problem, "give module:class, and install its package") from error
    return decoder
