"""The pixels: OpenJPEG through glymur's binding, from memory into a given array. The only importer of glymur.

glymur loads libopenjp2 when it is imported, and lays out its structures for the version that it finds then. So the
library is settled first (`configuration`, then glymur's own discovery, then the copy inside Pillow's wheel), and never
exchanged afterwards. Every decode has a codec, a stream and message handlers of its own: any number of threads may
decode at once; ctypes releases the GIL meanwhile.
"""

import contextlib
import ctypes
import ctypes.util
import functools
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jp2batch import config
from jp2batch.errors import ConfigurationError, CorruptImage, OpenJpegNotFound

_INSTALL = "install it: pip install pillow, conda install -c conda-forge openjpeg, or apt install libopenjp2-7"
_LOADING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Library:
    """The OpenJPEG library in use."""

    path: str
    """Where it was loaded from."""
    version: str
    """Its own version, such as "2.5.4"."""
    found_by: str
    """What found it: "configuration", "glymur" or "pillow"."""


@functools.cache
def library() -> Library:
    """Load OpenJPEG, once, and tell which.

    Raises
    ------
    OpenJpegNotFound
        There is none; the message says what to install.
    ConfigurationError
        The configured path is not a library.
    """
    with _LOADING:
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
    """Return glymur's configuration file, if there is one."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return next((path for path in (Path("glymurrc").absolute(), home / "glymur" / "glymurrc") if path.exists()), None)


def binding() -> Any:
    """Return `glymur.lib.openjp2`, bound to the library that `library` tells of."""
    library()
    import glymur.lib.openjp2

    return glymur.lib.openjp2


def decode(
    codestream: bytes | bytearray | memoryview,
    out: NDArray[Any],
    *,
    reduce: int = 0,
    origin: tuple[int, int] = (0, 0),
    area: tuple[int, int, int, int] | None = None,
) -> list[str]:
    """Decode a codestream, or a JP2 file, that lies in memory.

    Parameters
    ----------
    codestream : bytes-like
        A complete codestream or JP2 file.
    out : ndarray, shape (components, height, width)
        Receives the samples; may be a view. What is decoded beyond it is dropped. (With an image offset OpenJPEG can
        give a row and a column more than T.800 (B-15) has.)
    reduce : int
        Resolution levels to drop.
    origin : (int, int)
        Row and column of the decoded image that come first in `out`.
    area : (int, int, int, int), optional
        x0, y0, x1, y1 on the reference grid: the part of the image to decode; `origin` counts from its first sample.

    Returns
    -------
    list of str
        What OpenJPEG warned of. Nothing, where all went well.

    Raises
    ------
    CorruptImage
        OpenJPEG could not decode it, or what it decoded has another shape.
    """
    with _decoded(codestream, reduce, area) as (image, warnings):
        _copy(image, out, origin)
    return warnings


@dataclass(frozen=True, slots=True)
class Samples:
    """What OpenJPEG makes of a component or, palettes applied, of a channel."""

    bits: int
    """Bits of a sample."""
    signed: bool
    """Whether samples are signed."""


def decoded_samples(codestream: bytes, *, reduce: int) -> list[Samples]:
    """Decode a codestream or JP2 file, and tell what the samples are: boxes in odd places can change that.

    Raises
    ------
    CorruptImage
        OpenJPEG could not decode it.
    """
    with _decoded(codestream, reduce, None) as (image, _):
        return [Samples(image.comps[n].prec, bool(image.comps[n].sgnd)) for n in range(image.numcomps)]


@contextlib.contextmanager
def _decoded(
    codestream: bytes | bytearray | memoryview, reduce: int, area: tuple[int, int, int, int] | None
) -> Iterator[tuple[Any, list[str]]]:
    """Decode into an image of OpenJPEG's own, which lives as long as the context; give what it warned of as well."""
    lib = binding()
    messages = Messages(lib)
    codec = lib.create_decompress(lib.CODEC_JP2 if _is_jp2(codestream) else lib.CODEC_J2K)
    stream = _MemoryStream(lib.OPENJP2, codestream)
    image = None
    try:
        messages.attach(codec)
        parameters = lib.set_default_decoder_parameters()
        parameters.cp_reduce = reduce
        lib.setup_decoder(codec, parameters)
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


def _end(lib: Any, codec: Any, stream: "_MemoryStream", messages: "Messages") -> None:
    """Let OpenJPEG read what stands behind the codestream: all pixels are there, so its errors are warnings."""
    try:
        lib.end_decompress(codec, stream.handle)
    except lib.OpenJPEGLibraryError:
        messages.warnings.append(f"behind the codestream: {messages.summary()}")


def _copy(image: Any, out: NDArray[Any], origin: tuple[int, int]) -> None:
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


def _fits(component: Any, dtype: np.dtype[Any]) -> bool:
    """Tell whether a type surely holds the values: of unsigned ones by their precision, to which they are clamped.

    Signed entries of a palette come as unsigned numbers.
    """
    return bool(not component.sgnd and component.prec <= np.iinfo(dtype).bits - (dtype.kind == "i"))


def _check_values(samples: NDArray[Any], dtype: np.dtype[Any]) -> None:
    limits = np.iinfo(dtype)
    if samples.size and (samples.min() < limits.min or samples.max() > limits.max):
        raise CorruptImage("", f"a decoded value does not fit {dtype}", "convert the image")


def _is_jp2(data: bytes | bytearray | memoryview) -> bool:
    return bytes(data[4:8]) == b"jP  "


class Messages:
    """What OpenJPEG says during one decode. glymur's own queue is shared by all threads, hence not used."""

    _HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_void_p)

    def __init__(self, lib: Any) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self._lib = lib
        self._on_error = self._HANDLER(self._collector(self.errors))
        self._on_warning = self._HANDLER(self._collector(self.warnings))

    def attach(self, codec: Any) -> None:
        """Collect what a codec says."""
        self._lib.set_error_handler(codec, self._on_error)
        self._lib.set_warning_handler(codec, self._on_warning)

    def summary(self) -> str:
        """Return the first of what went wrong."""
        return "; ".join(self.errors[:2] or self.warnings[:2]) or "it gave no reason"

    @staticmethod
    def _collector(texts: list[str]) -> Callable[[bytes, Any], None]:
        def collect(message: bytes, _data: Any) -> None:
            if len(texts) < 10:  # a hostile file can warn without end
                texts.append(message.decode("utf-8", "replace").strip())

        return collect


class _MemoryStream:
    """An `opj_stream_t` that reads from memory; glymur wraps files only."""

    _READ = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
    _SKIP = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
    _SEEK = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p)
    _END = ctypes.c_size_t(-1).value
    _CHUNK = 1 << 20

    def __init__(self, openjp2: Any, data: bytes | bytearray | memoryview) -> None:
        self._buffer = np.frombuffer(data, np.uint8)  # keeps the bytes alive and gives their address
        self._size = len(self._buffer)
        self._position = 0
        self._callbacks = (self._READ(self._read), self._SKIP(self._skip), self._SEEK(self._seek))
        _declare_streams(openjp2)
        self.handle = openjp2.opj_stream_create(max(1, min(self._size, self._CHUNK)), 1)
        openjp2.opj_stream_set_user_data(self.handle, None, None)
        openjp2.opj_stream_set_user_data_length(self.handle, self._size)
        openjp2.opj_stream_set_read_function(self.handle, self._callbacks[0])
        openjp2.opj_stream_set_skip_function(self.handle, self._callbacks[1])
        openjp2.opj_stream_set_seek_function(self.handle, self._callbacks[2])

    def _read(self, target: int, length: int, _data: Any) -> int:
        length = min(length, self._size - self._position)
        if length <= 0:
            return self._END
        ctypes.memmove(target, self._buffer.ctypes.data + self._position, length)
        self._position += length
        return length

    def _skip(self, length: int, _data: Any) -> int:
        if length > 0 and self._position >= self._size:
            return -1
        start, self._position = self._position, min(max(0, self._position + length), self._size)
        return self._position - start

    def _seek(self, position: int, _data: Any) -> int:
        if not 0 <= position <= self._size:
            return 0
        self._position = position
        return 1


@functools.cache
def _declare_streams(openjp2: Any) -> None:
    """Tell ctypes the prototypes that glymur leaves out (openjpeg.h)."""
    handle = ctypes.c_void_p
    openjp2.opj_stream_create.argtypes = [ctypes.c_size_t, ctypes.c_int32]
    openjp2.opj_stream_create.restype = handle
    openjp2.opj_stream_set_user_data.argtypes = [handle, ctypes.c_void_p, ctypes.c_void_p]
    openjp2.opj_stream_set_user_data_length.argtypes = [handle, ctypes.c_uint64]
    openjp2.opj_stream_set_read_function.argtypes = [handle, _MemoryStream._READ]
    openjp2.opj_stream_set_skip_function.argtypes = [handle, _MemoryStream._SKIP]
    openjp2.opj_stream_set_seek_function.argtypes = [handle, _MemoryStream._SEEK]
    for name in ("user_data", "user_data_length", "read_function", "skip_function", "seek_function"):
        getattr(openjp2, f"opj_stream_set_{name}").restype = None


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
    # glymur.config can only be imported together with glymur, which loads the library: so ask as it would ask.
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
    """Import glymur so that it loads the library at `path`, unless it is imported already and has one."""
    if (early := sys.modules.get("glymur.lib.openjp2")) is not None and early.OPENJP2 is None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "glymur"]:
            del sys.modules[name]  # imported before us without a library, so of no use to anybody
    original = ctypes.util.find_library
    ctypes.util.find_library = lambda name: path if name == "openjp2" else original(name)
    try:
        import glymur.lib.openjp2 as binding
    finally:
        ctypes.util.find_library = original
    if binding.OPENJP2 is None:
        raise OpenJpegNotFound("", f"{path} could not be loaded", _INSTALL)
    return binding
