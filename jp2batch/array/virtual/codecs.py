"""Codecs of Zarr for tiles of JPEG 2000 files."""

import asyncio
import base64
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numcodecs.registry
import numpy as np
import zarr.registry
from numcodecs.abc import Codec
from numpy.typing import NDArray
from zarr.abc.codec import BytesBytesCodec
from zarr.core.buffer import Buffer

from jp2batch.image.tile_prefixes import TilePrefixes, decode_prefix

NAME = "jp2batch.tile"
"""Name of the codec in metadata of Zarr."""


@dataclass(frozen=True)
class Jp2TileCodec(BytesBytesCodec):
    """Decodes a tile at a resolution level, in Zarr 3."""

    is_fixed_size = False

    header: str
    """Main header of the codestream, in base64."""
    rlevel: int
    """Resolution levels to drop."""
    dtype: str
    """Type of the samples, with byte order."""

    @classmethod
    def of(cls, prefixes: TilePrefixes, rlevel: int) -> Self:
        """Return the codec of a level of an image."""
        return cls(base64.b64encode(prefixes.header).decode(), rlevel, prefixes.dtype.newbyteorder("<").str)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the codec from its metadata."""
        return cls(**data["configuration"])

    def to_dict(self) -> dict[str, Any]:
        """Return the metadata of the codec."""
        return {"name": NAME, "configuration": {"header": self.header, "rlevel": self.rlevel, "dtype": self.dtype}}

    def decode_tile(self, data: bytes) -> NDArray[np.generic]:
        """Decode a chunk; the edge of the image is filled with 0."""
        return decode_prefix(base64.b64decode(self.header), self.rlevel, np.dtype(self.dtype), data)

    def compute_encoded_size(self, input_byte_length: int, _chunk_spec: Any) -> int:
        """Refuse: the size of a tile depends on its samples."""
        raise NotImplementedError

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: Any) -> Buffer:
        values = await asyncio.to_thread(self.decode_tile, chunk_bytes.to_bytes())
        buffer: Buffer = chunk_spec.prototype.buffer.from_bytes(values.tobytes())
        return buffer

    async def _encode_single(self, chunk_bytes: Buffer, chunk_spec: Any) -> Buffer:
        raise NotImplementedError("virtual arrays of JPEG 2000 files are read-only")


class Jp2TileFilter(Codec):  # type: ignore[misc]  # numcodecs has no types
    """Decodes a tile at a resolution level, in Zarr 2 and kerchunk."""

    codec_id: ClassVar[str] = NAME

    def __init__(self, header: str, rlevel: int, dtype: str) -> None:
        self.header, self.rlevel, self.dtype = header, rlevel, dtype

    def encode(self, buf: Any) -> Any:
        """Refuse: virtual arrays are read-only."""
        raise NotImplementedError("virtual arrays of JPEG 2000 files are read-only")

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode a chunk; the edge of the image is filled with 0."""
        values = Jp2TileCodec(self.header, self.rlevel, self.dtype).decode_tile(bytes(buf))
        if out is None:
            return values
        np.copyto(np.frombuffer(out, values.dtype).reshape(values.shape), values)
        return out


zarr.registry.register_codec(NAME, Jp2TileCodec)  # for installations older than the entry points
numcodecs.registry.register_codec(Jp2TileFilter)
