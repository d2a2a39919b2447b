"""Decode with OpenJPEG, through glymur, from memory into an array.

No other module imports glymur. glymur loads libopenjp2 when it is imported, and lays out its structures for the version
found then. Hence the library is chosen first (from the configuration, by glymur's own discovery, or inside Pillow's
wheel), and never exchanged afterwards. Each decode has its own codec, stream and message handlers: any number of
threads may decode concurrently; ctypes releases the GIL meanwhile.
"""

import contextlib
import ctypes.util
import functools
import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jp2batch.core import config
from jp2batch.core.errors import ConfigurationError, CorruptImage, OpenJpegNotFound
from jp2batch.core.runtime import uninterrupted_by_fork
from jp2batch.core.value_range import are_within
from jp2batch.image.openjpeg_callbacks import MemoryStream, Messages

_INSTALL = "install it: pip install pillow, conda install -c conda-forge openjpeg, or apt install libopenjp2-7"


@dataclass(frozen=True, slots=True)
class Library:
    """Path and version of the OpenJPEG library in use."""

    path: str
    """Path of the loaded library."""
    version: str
    """Version of the library, such as "2.5.4"."""
    found_by: str
    """Source of the path: "configuration", "glymur" or "pillow"."""


@functools.cache
def library() -> Library:
    """Load OpenJPEG, once per process, and describe the library.

    Raises
    ------
    OpenJpegNotFound
        No library was found; the hint names packages to install.
    ConfigurationError
        The configured path is not a library.
    """
    with uninterrupted_by_fork():  # a fork meanwhile would leave the child an unfinished import
        path, found_by = _find()
        loaded = _import_glymur(path)
    if found_by == "configuration" and loaded.OPENJP2._name != path:
        raise ConfigurationError(
            "",
            f"jp2batch.openjpeg-library is {path}, but glymur has loaded {loaded.OPENJP2._name}",
            "remove its glymurrc",
        )
    return Library(loaded.OPENJP2._name, loaded.version(), found_by)


def glymurrc() -> Path | None:
    """Return glymur's configuration file, if any."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return next((path for path in (Path("glymurrc").absolute(), home / "glymur" / "glymurrc") if path.exists()), None)


def binding() -> Any:
    """Return `glymur.lib.openjp2`, bound to the library of `library()`."""
    library()
    import glymur.lib.openjp2

    return glymur.lib.openjp2


def decode(
    codestream: bytes | bytearray | memoryview,
    out: NDArray[np.generic],
    *,
    reduce: int = 0,
    origin: tuple[int, int] = (0, 0),
    area: tuple[int, int, int, int] | None = None,
    threads: int = 1,
) -> list[str]:
    """Decode a codestream or JP2 file; return warnings; see `decoder.Decoder`.

    Samples beyond the shape of `out` are dropped: with an image offset, OpenJPEG can decode a row and a column more
    than T.800 (B-15) defines.
    """
    with _decoded(codestream, reduce, area, threads) as (image, warnings):
        _copy(image, out, origin)
    return warnings


def decoded_samples(codestream: bytes, *, reduce: int) -> list[tuple[int, bool]]:
    """Decode a file; return bits and sign of each channel.

    Misplaced boxes can change both.

    Raises
    ------
    CorruptImage
        OpenJPEG could not decode it.
    """
    with _decoded(codestream, reduce, None) as (image, _):
        return [(image.comps[n].prec, bool(image.comps[n].sgnd)) for n in range(image.numcomps)]


@contextlib.contextmanager
def _decoded(
    codestream: bytes | bytearray | memoryview,
    reduce: int,
    area: tuple[int, int, int, int] | None,
    threads: int = 1,
) -> Iterator[tuple[Any, list[str]]]:
    """Decode into an image of OpenJPEG; yield it with its warnings.

    The image lives as long as the context.
    """
    lib = binding()
    messages = Messages(lib)
    codec = lib.create_decompress(lib.CODEC_JP2 if _is_jp2(codestream) else lib.CODEC_J2K)
    stream = MemoryStream(lib.OPENJP2, codestream)
    image = None
    try:
        messages.attach(codec)
        parameters = lib.set_default_decoder_parameters()
        parameters.cp_reduce = reduce
        lib.setup_decoder(codec, parameters)
        if threads > 1:
            lib.OPENJP2.opj_codec_set_threads(ctypes.cast(codec, ctypes.c_void_p), threads)  # if it has none: no matter
        image = lib.read_header(stream.handle, codec)
        if area is not None:
            lib.set_decode_area(codec, image, *area)
        lib.decode(codec, stream.handle, image)
        _end(lib, codec, stream, messages)
        yield image.contents, messages.warnings
    except lib.OpenJPEGLibraryError:
        raise CorruptImage("", f"OpenJPEG cannot decode it: {messages.summary()}", "fetch the file again") from None
    finally:
        if image is not None:
            lib.image_destroy(image)
        lib.stream_destroy(stream.handle)
        lib.destroy_codec(codec)


def _end(lib: Any, codec: Any, stream: MemoryStream, messages: Messages) -> None:
    """Let OpenJPEG read the bytes behind the codestream.

    All pixels are decoded by then, hence its errors become warnings.
    """
    try:
        lib.end_decompress(codec, stream.handle)
    except lib.OpenJPEGLibraryError:
        messages.warnings.append(f"behind the codestream: {messages.summary()}")


def _copy(image: Any, out: NDArray[np.generic], origin: tuple[int, int]) -> None:
    row, column = origin
    if image.numcomps != len(out):
        raise CorruptImage("", f"OpenJPEG decoded {image.numcomps} components where {len(out)} were expected")
    for index, target in enumerate(out):
        component = image.comps[index]
        height, width = target.shape
        if not component.data or component.h < row + height or component.w < column + width:
            raise CorruptImage(
                "",
                f"OpenJPEG decoded {component.h} x {component.w} samples, not {row + height} x {column + width}",
                "fetch the file again",
            )
        samples = np.ctypeslib.as_array(component.data, shape=(component.h, component.w))
        samples = samples[row : row + height, column : column + width]
        if not _fits(component, target.dtype):
            _check_values(samples, target.dtype)
        target[...] = samples  # int32 to the image's own type


def _fits(component: Any, dtype: np.dtype[np.integer]) -> bool:
    """Return whether the type holds all values of a decoded component.

    Unsigned values are clamped to their precision. Signed entries of a palette come as unsigned numbers, and entries
    of 32 bits as signed numbers.
    """
    return bool(not component.sgnd and component.prec <= min(31, np.iinfo(dtype).bits - (dtype.kind == "i")))


def _check_values(samples: NDArray[np.generic], dtype: np.dtype[np.integer]) -> None:
    limits = np.iinfo(dtype)
    if not are_within(samples, limits.min, limits.max):
        raise CorruptImage("", f"a decoded value does not fit {dtype}", "convert the image")


def _is_jp2(data: bytes | bytearray | memoryview) -> bool:
    return bytes(data[4:8]) == b"jP  "


def _find() -> tuple[str, str]:
    configured = config.openjpeg_library()
    if configured is not None:
        if not Path(configured).exists() and ctypes.util.find_library(configured) is None:
            raise ConfigurationError("", f"jp2batch.openjpeg-library is {configured!r}: no such file", _INSTALL)
        return configured, "configuration"
    if (path := _glymur_would_find()) is not None:
        return path, "glymur"
    if (path := _inside_pillow()) is not None:
        return path, "pillow"
    raise OpenJpegNotFound("", "no OpenJPEG library was found", _INSTALL)


def _glymur_would_find() -> str | None:
    # glymur.config can only be imported together with glymur, which loads the library: hence search as glymur does.
    return _from_glymurrc() or ctypes.util.find_library("openjp2")


def _from_glymurrc() -> str | None:
    import configparser

    if (file := glymurrc()) is None:
        return None
    rc = configparser.ConfigParser()
    rc.read(file)
    path = rc.get("library", "openjp2", fallback="")
    return path if path and Path(path).exists() else None


def _inside_pillow() -> str | None:
    spec = importlib.util.find_spec("PIL")
    if spec is None or spec.origin is None:
        return None
    package = Path(spec.origin).parent
    places = [(package.parent / "pillow.libs", "libopenjp2*.so*"), (package / ".dylibs", "libopenjp2*.dylib")]
    found = [path for folder, pattern in places for path in sorted(folder.glob(pattern))]
    return str(found[0]) if found else None


def _import_glymur(path: str) -> Any:
    """Import glymur with the library at `path`, unless it has loaded another."""
    if (early := sys.modules.get("glymur.lib.openjp2")) is not None and early.OPENJP2 is None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "glymur"]:
            del sys.modules[name]  # imported earlier without a library, hence useless
    original = ctypes.util.find_library
    ctypes.util.find_library = lambda name: path if name == "openjp2" else original(name)
    try:
        import glymur.lib.openjp2 as binding
    finally:
        ctypes.util.find_library = original
    if binding.OPENJP2 is None:
        raise OpenJpegNotFound("", f"{path} could not be loaded", _INSTALL)
    return binding
