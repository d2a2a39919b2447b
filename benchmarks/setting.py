"""What all benchmarks are told."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks import ROOT
from benchmarks.scenes import FULL_SIZE, Scene, make_scene

_QUICK_SIZE = 1830
_WARM_UP_SIZE = 1098


@dataclass(frozen=True)
class Setting:
    """Where, and how thoroughly, to measure."""

    folder: Path
    """Where scenes are kept from one run to the next."""
    quick: bool = False
    """Whether to do each thing once, on small images: to see that it works, not how long it takes."""

    @property
    def scene(self) -> Scene:
        """The image to read, made if need be."""
        return make_scene(self.folder, _QUICK_SIZE if self.quick else FULL_SIZE)

    @property
    def figures(self) -> Path:
        """Where plots go: among the pictures of the docs, or for a quick look beside the scenes."""
        return self.folder if self.quick else ROOT / "docs" / "images"

    @property
    def rounds(self) -> int:
        """How often each thing is measured."""
        return 1 if self.quick else 5

    @property
    def few_rounds(self) -> int:
        """How often what takes long is measured."""
        return 1 if self.quick else 3

    @property
    def warm_up(self) -> Path:
        """A small image to use code on before it is measured."""
        return make_scene(self.folder, _WARM_UP_SIZE).tlm
