"""Callbacks of OpenJPEG: message handlers, and a stream on memory."""

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np


class Messages:
    """Errors and warnings of OpenJPEG during a decode.

    All threads share glymur's own queue, hence it is not used.
    """

    _HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_void_p)

    def __init__(self, lib: Any) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self._lib = lib
        self._on_error = self._HANDLER(self._collector(self.errors))
        self._on_warning = self._HANDLER(self._collector(self.warnings))

    def attach(self, codec: Any) -> None:
        """Collect the messages of a codec."""
        self._lib.set_error_handler(codec, self._on_error)
        self._lib.set_warning_handler(codec, self._on_warning)

    def summary(self) -> str:
        """Return the first errors or, without errors, the first warnings."""
        return "; ".join(self.errors[:2] or self.warnings[:2]) or "it gave no reason"

    @staticmethod
    def _collector(texts: list[str]) -> Callable[[bytes, object], None]:
        def collect(message: bytes, _data: object) -> None:
            if len(texts) < 10:  # a hostile file can warn without end
                texts.append(message.decode("utf-8", "replace").strip())

        return collect


class MemoryStream:
    """An `opj_stream_t` on memory; glymur wraps only files."""

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

    def _read(self, target: int, length: int, _data: object) -> int:
        length = min(length, self._size - self._position)
        if length <= 0:
            return self._END
        ctypes.memmove(target, self._buffer.ctypes.data + self._position, length)
        self._position += length
        return length

    def _skip(self, length: int, _data: object) -> int:
        if length > 0 and self._position >= self._size:
            return -1
        start, self._position = self._position, min(max(0, self._position + length), self._size)
        return self._position - start

    def _seek(self, position: int, _data: object) -> int:
        if not 0 <= position <= self._size:
            return 0
        self._position = position
        return 1


@functools.cache
def _declare_streams(openjp2: Any) -> None:
    """Declare the prototypes of openjpeg.h missing in glymur to ctypes."""
    handle = ctypes.c_void_p
    openjp2.opj_stream_create.argtypes = [ctypes.c_size_t, ctypes.c_int32]
    openjp2.opj_stream_create.restype = handle
    openjp2.opj_stream_set_user_data.argtypes = [handle, ctypes.c_void_p, ctypes.c_void_p]
    openjp2.opj_stream_set_user_data_length.argtypes = [handle, ctypes.c_uint64]
    openjp2.opj_stream_set_read_function.argtypes = [handle, MemoryStream._READ]
    openjp2.opj_stream_set_skip_function.argtypes = [handle, MemoryStream._SKIP]
    openjp2.opj_stream_set_seek_function.argtypes = [handle, MemoryStream._SEEK]
    for name in ("user_data", "user_data_length", "read_function", "skip_function", "seek_function"):
        getattr(openjp2, f"opj_stream_set_{name}").restype = None
