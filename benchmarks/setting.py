"""Settings of all benchmarks."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks import ROOT
from benchmarks.scenes import FULL_SIZE, Kind, Scene, make_scene

_QUICK_SIZE = 1830
_WARM_UP_SIZE = 1098


@dataclass(frozen=True)
class Setting:
    """Folders and thoroughness of measuring."""

    folder: Path
    """Folder of scenes, kept between runs."""
    quick: bool = False
    """True to run everything once on small images, only to test the benchmarks."""

    @property
    def scene(self) -> Scene:
        """Even scene to read, made if missing."""
        return self.scene_of("even")

    def scene_of(self, kind: Kind) -> Scene:
        """Return the scene of a kind, made if missing."""
        return make_scene(self.folder, _QUICK_SIZE if self.quick else FULL_SIZE, kind)

    @property
    def figures(self) -> Path:
        """Folder of plots: the pictures of the docs, or, if quick, beside the scenes."""
        return self.folder if self.quick else ROOT / "docs" / "images"

    @property
    def rounds(self) -> int:
        """Number of measurements."""
        return 1 if self.quick else 5

    @property
    def few_rounds(self) -> int:
        """Number of measurements of slow benchmarks."""
        return 1 if self.quick else 3

    @property
    def warm_up(self) -> Path:
        """Small image for a first use of code before measuring."""
        return make_scene(self.folder, _WARM_UP_SIZE).tlm
