"""Rows of TLM, and the index from a read."""

import struct
from dataclasses import replace

from jp2batch.core.window import Window
from jp2batch.image.fetch import fetcher, run_steps
from jp2batch.image.open import OpenImage
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.jpeg2000.plan.planner import plan_read
from jp2batch.storage.source import MemorySource
from support.images import Made
from support.reads import FREE
from support.rewrite import Codestream


def tlm(rows: list[tuple[int, int]]) -> bytes:
    return b"\0\x60" + b"".join(struct.pack(">HI", *row) for row in rows)


def rows_of(data: bytes) -> list[tuple[int, int]]:
    return [(part.tile, len(part.to_bytes())) for part in Codestream.parse(data).parts]


def learn(image: Made | bytes, rlevel: int = 0, window=None) -> ImageIndex:
    data = image if isinstance(image, bytes) else image.data
    opened = OpenImage.start(MemorySource(data, profile=FREE, etag='"1"'))
    selection = opened.selected(rlevel, window and Window.parse(window))
    steps = plan_read(replace(opened.query(selection), whole_fits=False), "packets", headers_only=False)
    known = opened.learned_index(run_steps(steps, fetcher(opened.source, opened.pieces)))
    assert known is not None
    return known


def kayrros(data: bytes, start: int, segment: bytes) -> bytes:
    return struct.pack(">QQI", len(data), start, len(segment)) + segment
