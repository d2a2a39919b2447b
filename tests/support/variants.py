"""Generate valid JPEG 2000 files of all shapes, by seed: `variant(seed)`.

A small image is coded by OpenJPEG, taken to pieces, and put together as another encoder could have done: other
divisions into tile-parts, marker segments in tile-part headers, TLM, PLT, boxes, appended bytes. Each variant combines
some of the `FEATURES` and names them in `facts`. The same seed gives the same bytes with the same OpenJPEG.

The features are functions of the modules `variant_*`. A new feature gets a name in one of the `STAGES`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from support import variant_boxes as boxes
from support import variant_codestream_end as codestream_end
from support import variant_coding_segments as coding_segments
from support import variant_other_segments as other_segments
from support import variant_pointer_segments as pointer_segments
from support import variant_tile_parts as tile_parts
from support.variant_draft import Draft, Feature, Rng
from support.variant_image import random_draft


@dataclass(frozen=True)
class Variant:
    """A generated file and the features in it."""

    seed: int
    data: bytes
    facts: tuple[str, ...]
    """The coding, then the features."""
    refusable: tuple[str, ...] = ()
    """Features that allow a typed refusal, even if OpenJPEG decodes the file without a warning."""

    @property
    def description(self) -> str:
        return f"{self.seed}: " + "; ".join(self.facts)


def variant(seed: int) -> Variant:
    """Return the variant of a seed. OpenJPEG's encoder may abort the process: use a child process."""
    rng = np.random.default_rng(seed)
    draft = random_draft(rng)
    apply(draft, chosen(rng))
    return Variant(seed, draft.to_bytes(), tuple(draft.facts), tuple(draft.refusable))


def with_features(seed: int, *names: str) -> Variant | None:
    """Return the image of a seed with exactly these features; None if any does not apply."""
    draft = random_draft(np.random.default_rng(seed))
    apply(draft, names)
    if len(draft.facts) <= len(names):
        return None
    return Variant(seed, draft.to_bytes(), tuple(draft.facts), tuple(draft.refusable))


def apply(draft: Draft, features: Sequence[str]) -> None:
    """Apply features by name, in the order of `STAGES`."""
    for stage, division in STAGES:
        for name, feature in stage.items():
            if name in features and (fact := feature(draft)) is not None:
                draft.facts.append(fact)
                draft.refusable += [name] * (name in REFUSABLE)
        if division:
            tile_parts.divide_as_openjpeg(draft)


def chosen(rng: Rng) -> list[str]:
    """Choose features by `WEIGHTS`: mostly one to four."""
    names = [name for stage, _ in STAGES for name in stage]
    weights = np.array([WEIGHTS.get(name, 1.0) for name in names])
    count = int(rng.choice([0, 1, 2, 3, 4, 6, 9], p=[0.03, 0.17, 0.27, 0.25, 0.15, 0.09, 0.04]))
    return [str(name) for name in rng.choice(names, count, replace=False, p=weights / weights.sum())]


STAGES: tuple[tuple[dict[str, Feature], bool], ...] = (
    (
        {
            "tile COD, more levels": lambda draft: coding_segments.tile_cod_levels(draft, True),
            "tile COD, fewer levels": lambda draft: coding_segments.tile_cod_levels(draft, False),
            "tile COD, other": coding_segments.tile_cod_other,
            "tile COC": coding_segments.tile_coc,
            "tile COC of one component": coding_segments.tile_coc_one,
            "main COC": coding_segments.main_coc,
            "COC first": coding_segments.coc_first,
            "tile repeats": coding_segments.tile_same,
            "QCD derived": coding_segments.derived_steps,
            "RGN": coding_segments.rgn,
            "POC": coding_segments.poc,
        },
        False,
    ),
    (
        {
            "tile-parts, some": lambda draft: None if draft.parts else tile_parts.cut_some(draft),
            "tile-parts, all": lambda draft: None if draft.parts else tile_parts.cut_all(draft),
            "tile-parts, two": lambda draft: None if draft.parts else tile_parts.cut_in_two(draft),
            "tile-parts, empty": lambda draft: None if draft.parts else tile_parts.empty_parts(draft),
        },
        True,
    ),
    (
        {
            "interleaved": tile_parts.interleave,
            "mixed": tile_parts.merge_at_random,
            "tiles shuffled": tile_parts.shuffle_tiles,
            "two tiles swapped": tile_parts.swap_two_tiles,
            "padded": tile_parts.pad,
            "no PLT": pointer_segments.no_plt,
            "PLT in some tiles": pointer_segments.plt_of_some_tiles,
            "PLT in some tile-parts": pointer_segments.plt_of_some_parts,
            "PLT in pieces": pointer_segments.plt_in_pieces,
            "PLM": pointer_segments.plm,
            "PPT": pointer_segments.ppt,
            "PPM": pointer_segments.ppm,
            "TNsot high": tile_parts.totals_too_high,
            "TNsot low": tile_parts.totals_too_low,
            "TNsot low somewhere": tile_parts.totals_too_low_somewhere,
            "TNsot in some": tile_parts.totals_some,
            "TNsot 0": tile_parts.totals_zero,
            "look-alikes": other_segments.look_alikes,
            "reserved marker": other_segments.reserved_marker,
            "unknown marker": other_segments.unknown_marker,
            "COM": other_segments.comments,
            "main shuffled": other_segments.shuffle_main,
            "TLM": pointer_segments.tlm,
            "TLM lies": pointer_segments.tlm_lie,
            "Psot 0": codestream_end.open_end,
            "no EOC": codestream_end.no_eoc,
            "appended": codestream_end.append,
            "second codestream": codestream_end.second_stream,
            "tiles again": codestream_end.tiles_again,
            "tail again": codestream_end.copied_tail,
            "JP2": boxes.in_jp2,
            "metadata boxes": boxes.metadata_boxes,
            "bpcc": boxes.depth_boxes,
            "palette": boxes.palette,
            "cdef": boxes.channel_definition,
            "second jp2h": boxes.second_header,
            "second jp2c": boxes.second_codestream_box,
            "jp2c length": boxes.codestream_length,
            "jp2c wrong length": boxes.wrong_codestream_length,
            "garbage box": boxes.garbage_box,
        },
        False,
    ),
)
"""Features by name, in the order in which they are applied; True: tiles are divided after this stage."""
FEATURES = tuple(name for stage, _ in STAGES for name in stage)
WEIGHTS = {
    "TLM": 3.0,
    "tile COD, more levels": 2.0,
    "tile COC": 1.5,
    "no PLT": 2.0,
    "JP2": 3.0,
    "padded": 2.0,
    "tile-parts, all": 2.0,
    "tile-parts, two": 2.0,
    "interleaved": 1.5,
    "TNsot low": 2.0,
    "palette": 2.0,
    "cdef": 1.5,
    "PPT": 1.5,
    "PPM": 1.5,
}
"""Weights of features for choosing; others have weight 1."""
REFUSABLE: frozenset[str] = frozenset()
"""Features that allow a typed refusal, even if OpenJPEG decodes the file without a warning: none."""
