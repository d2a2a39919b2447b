"""The reference: OpenJPEG's decode of an unchanged file, independent of the package.

One change is made to the bytes: TLM marker segments of the main header get the marker COM, which OpenJPEG skips.
OpenJPEG 2.5.3 and 2.5.4 have a heap overflow in their TLM path (uclouvain/openjpeg issue 1652). A decode of the whole
image has no use for TLM, and since lengths and offsets stay what they are, nothing else changes. If the main header
cannot be walked along, the bytes stay untouched, and an overflow ends a child process only.
"""

import struct
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jp2batch.core.window import Window
from jp2batch.image.openjpeg import binding
from jp2batch.image.openjpeg_callbacks import Messages

MOST_LEVELS = 33
MOST_SAMPLES = 1 << 24
"""Largest image to compare: a damaged file can claim more."""
_SOC_SIZ = b"\xff\x4f\xff\x51"
_TLM, _COM, _SOT = 0xFF55, 0xFF64, 0xFF90
_KNOWN = {0xFF51, 0xFF52, 0xFF53, 0xFF5E, 0xFF5C, 0xFF5D, 0xFF5F, 0xFF55, 0xFF57, 0xFF58, 0xFF60, 0xFF61, 0xFF63} | {
    *(0xFF64, 0xFF74, 0xFF75, 0xFF77, 0xFF78, 0xFF50, 0xFF59),
}
"""Markers whose segments OpenJPEG skips by their length; it searches behind any other for one that it knows."""


@dataclass(frozen=True)
class Plane:
    """Samples of a component (or channel) at a rlevel, in the size of T.800 (B-15)."""

    values: NDArray[np.int32]
    sampling: tuple[int, int]
    """YRsiz, XRsiz."""
    origin: tuple[int, int]
    """Row and column of the first sample of the full image."""
    signed: bool
    bits: int


@dataclass(frozen=True)
class Level:
    """A whole decode at one rlevel."""

    rlevel: int
    planes: tuple[Plane, ...]
    """Empty if OpenJPEG failed."""
    warnings: tuple[str, ...]
    error: str = ""
    seconds: float = 0.0
    """Processor time in seconds."""

    @cached_property
    def array(self) -> NDArray[np.int64] | None:
        """The samples as one array; None if OpenJPEG failed, or components differ in size or sampling."""
        alike = {(plane.values.shape, plane.sampling, plane.origin) for plane in self.planes}
        return np.stack([plane.values for plane in self.planes]).astype(np.int64) if len(alike) == 1 else None

    def window(self, window: Window | None) -> NDArray[np.int64] | None:
        """Return the samples of a window, given in pixels of the full image."""
        if window is None or self.array is None:
            return self.array
        step, rows_columns = 1 << self.rlevel, []
        for first, bounds in zip(self.planes[0].origin, window, strict=True):
            base = _ceil_div(first, step)
            rows_columns.append(slice(*(_ceil_div(first + bound, step) - base for bound in bounds)))
        return self.array[:, rows_columns[0], rows_columns[1]]


def whole_decode(data: bytes) -> Iterator[Level]:
    """Decode a file at every rlevel. Call it in a child process."""
    harmless = without_tlm(data)
    with tempfile.TemporaryDirectory(prefix="jp2batch-") as folder:
        path = Path(folder, "image")
        path.write_bytes(harmless)
        for rlevel in range(MOST_LEVELS):
            begin = time.process_time()
            level = _decode(path, rlevel, jp2=data[4:8] == b"jP  ")
            yield replace(level, seconds=time.process_time() - begin)
            if level.error:
                return


def without_tlm(data: bytes) -> bytes:
    """Change the markers of TLM segments in the main header to COM."""
    start = data.find(_SOC_SIZ)
    changed, position = bytearray(data), start + 2
    while start >= 0 and position + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, position)
        if marker == _SOT or marker < 0xFF00:
            break
        if marker not in _KNOWN:  # as opj_j2k_read_unk does
            position += 2
            while position + 2 <= len(data) and not _stops_search(int.from_bytes(data[position : position + 2])):
                position += 2
            continue
        if marker == _TLM:
            struct.pack_into(">H", changed, position, _COM)
        position += 2 + max(2, length)
    return bytes(changed)


def _stops_search(marker: int) -> bool:
    return marker in _KNOWN or marker == _SOT


def _decode(path: Path, rlevel: int, *, jp2: bool) -> Level:
    lib = binding()
    messages = Messages(lib)
    codec = lib.create_decompress(lib.CODEC_JP2 if jp2 else lib.CODEC_J2K)
    stream = lib.stream_create_default_file_stream(str(path), True)
    image = None
    planes: tuple[Plane, ...] = ()
    error = ""
    try:
        messages.attach(codec)
        parameters = lib.set_default_decoder_parameters()
        parameters.cp_reduce = rlevel
        lib.setup_decoder(codec, parameters)
        image = lib.read_header(stream, codec)
        lib.decode(codec, stream, image)
        lib.end_decompress(codec, stream)
        planes = tuple(_planes(image.contents, rlevel))
    except (lib.OpenJPEGLibraryError, ValueError) as problem:
        error = messages.summary() if messages.errors else str(problem) or messages.summary()
    finally:
        if image is not None:
            lib.image_destroy(image)
        lib.stream_destroy(stream)
        lib.destroy_codec(codec)
    return Level(rlevel, () if error else planes, tuple(messages.warnings), error)


def _planes(image: object, rlevel: int) -> Iterator[Plane]:
    """Copy the components. With an image offset OpenJPEG can add a row or column of zeros: they are cut off."""
    if sum(image.comps[n].w * image.comps[n].h for n in range(image.numcomps)) > MOST_SAMPLES:  # type: ignore[attr-defined]
        raise ValueError("too many samples to compare")
    for index in range(image.numcomps):  # type: ignore[attr-defined]
        component = image.comps[index]  # type: ignore[attr-defined]
        (y0, height), (x0, width) = (
            _extent(start, stop, step, rlevel)
            for start, stop, step in (
                (image.y0, image.y1, component.dy),  # type: ignore[attr-defined]
                (image.x0, image.x1, component.dx),  # type: ignore[attr-defined]
            )
        )
        if not component.data or component.h < height or component.w < width:
            raise ValueError(f"OpenJPEG decoded {component.h} x {component.w} samples, not {height} x {width}")
        samples = np.ctypeslib.as_array(component.data, shape=(component.h, component.w))
        sampling = component.dy, component.dx
        yield Plane(samples[:height, :width].astype(np.int32), sampling, (y0, x0), bool(component.sgnd), component.prec)


def _extent(start: int, stop: int, step: int, rlevel: int) -> tuple[int, int]:
    """Return the first sample of the full image, and the number of samples at a level."""
    first, last = _ceil_div(start, step), _ceil_div(stop, step)
    return first, _ceil_div(last, 1 << rlevel) - _ceil_div(first, 1 << rlevel)


def _ceil_div(value: int, divisor: int) -> int:
    return -(-value // divisor)
