"""Random images coded by OpenJPEG and taken to pieces: `random_draft`, `encode_tiles`."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from jp2batch.core.errors import EncodingError
from jp2batch.sample.coding import Coding
from jp2batch.sample.encode import encode
from support import rewrite
from support.rewrite import PLT
from support.variant_coding import has_small_tile, is_encodable, random_coding
from support.variant_draft import Draft, Rng, Segment, Tile

_STYLES = (1, 2, 8, 16, 32, 42)
"""Code-block styles, table A.19."""


def random_draft(rng: Rng) -> Draft:
    """Return a random image in a random coding, with a description as its first fact."""
    for _ in range(100):
        coding, components, size = random_coding(rng)
        content, pixels = _random_pixels(rng, components, size, coding)
        style = 0 if has_small_tile(coding, size) else int(rng.choice([0, 0, 0, 0, *_STYLES]))
        coded = encode_tiles(pixels, coding, style)
        if coded is not None:
            break
    else:
        raise RuntimeError("OpenJPEG refuses a hundred codings")
    main, tiles = coded
    draft = Draft(rng, pixels, coding, style, main, tiles)
    grid = f"{size[1]}x{size[0]}+{coding.image_offset} tile {coding.tile}+{coding.tile_offset}"
    draft.facts.append(
        f"{grid}, {components} {content} of {'-' * coding.signed}{coding.bits} bits, {coding.progression}"
        f" levels {coding.levels} layers {coding.layers} {'5/3' if coding.reversible else '9/7'}{' MCT' * coding.mct}"
        f" blocks {coding.code_block} style {style} precincts {coding.precincts}{' SOP' * coding.sop}"
        f"{' EPH' * coding.eph}{f' sampling {coding.subsampling[0]}' if coding.subsampling else ''}"
        f"{f' cut by {coding.tile_parts}' if coding.tile_parts else ''}{' POC' * bool(coding.changes)}"
    )
    return draft


def _random_pixels(rng: Rng, components: int, size: tuple[int, int], coding: Coding) -> tuple[str, NDArray[np.int32]]:
    low = -(1 << coding.bits - 1) if coding.signed else 0
    high = low + (1 << coding.bits) - 1
    kind = str(rng.choice(["smooth", "smooth", "noise", "constant", "ramp", "checks"]))
    rows, columns = np.mgrid[: size[0], : size[1]]
    planes = []
    for index in range(components):
        if kind == "noise":
            plane = rng.integers(low, high + 1, size)
        elif kind == "constant":
            plane = np.full(size, rng.integers(low, high + 1))
        elif kind == "ramp":
            plane = low + (rows * 3 + columns * (2 + index)) % (high - low + 1)
        elif kind == "checks":
            plane = np.where((rows // 5 + columns // (3 + index)) % 2, low, high)
        else:
            hills = np.sin(rows / (9 + index)) + np.cos(columns / (13 - index)) + rng.normal(0, 0.15, size)
            plane = np.rint((hills - hills.min()) / max(np.ptp(hills), 1e-9) * (high - low)).astype(np.int64) + low
        planes.append(np.clip(plane, low, high))
    return kind, np.stack(planes).astype(np.int32)


def encode_tiles(pixels: NDArray[np.int32], coding: Coding, style: int) -> tuple[list[Segment], dict[int, Tile]] | None:
    """Code an image; return its main header and its tiles. None: OpenJPEG cannot code it so."""
    if not is_encodable(coding, (pixels.shape[1], pixels.shape[2])):
        return None
    try:
        stream = rewrite.Codestream.parse(encode(pixels, replace(coding, style=style)))
    except EncodingError:  # its buffer is too small for some noise
        return None
    tiles: dict[int, Tile] = {}
    for part in stream.parts:
        tile = tiles.setdefault(part.tile, Tile(part.tile, [], [], []))
        if tile.packets:
            tile.cuts.append(len(tile.packets))
        tile.segments += [segment for segment in part.segments if segment[0] != PLT]
        position = 0
        for length in rewrite.packet_lengths(part):
            tile.packets.append(part.data[position : position + length])
            position += length
        if position != len(part.data):
            raise ValueError(f"PLT of tile {part.tile} tells of {position} bytes, of {len(part.data)}")
    return list(stream.segments), tiles
