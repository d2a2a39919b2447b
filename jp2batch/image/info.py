"""Values to look at: `ImageInfo`, what an image is; `ReadPlan`, what reading it would take."""

from dataclasses import asdict, dataclass
from typing import Any

from jp2batch.core import display
from jp2batch.image.georeference import Transform
from jp2batch.jpeg2000.plan.planner import LocatedBy, Precision


@dataclass(frozen=True, slots=True, repr=False)
class ImageInfo:
    """What the header of an image tells."""

    path: str
    """Where it lies, without credentials."""
    size: int
    """Length of the file in bytes."""
    shape: tuple[int, int]
    """Rows and columns of the full image."""
    bands: int
    """Number of components, or of the channels that a palette makes of them."""
    bits: tuple[int, ...]
    """Bits of a sample, by band."""
    dtype: str
    """The numpy type of its pixels."""
    tiles: tuple[int, int]
    """Rows and columns of tiles."""
    tile_shape: tuple[int, int]
    """Rows and columns of a tile, in pixels."""
    levels: tuple[tuple[int, int], ...]
    """Rows and columns at each rlevel, from 0."""
    progression: str
    """Progression order: LRCP, RLCP, RPCL, PCRL or CPRL."""
    layers: int
    """Number of quality layers."""
    wavelet: str
    """"5/3 reversible" or "9/7 irreversible"."""
    code_block: tuple[int, int]
    """Rows and columns of a code-block."""
    mct: bool
    """Whether a multiple component transformation is used."""
    htj2k: bool
    """Whether it is coded in HTJ2K."""
    markers: tuple[str, ...]
    """The marker segments of the main header, and PLT where the first tile-part has it."""
    crs: str | None
    """Its coordinate reference system: "EPSG:32629", or a name; None = not georeferenced."""
    transform: Transform | None
    """From pixel corners to coordinates, as rasterio has it; None = not georeferenced."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that json can write."""
        return asdict(self)

    def __str__(self) -> str:
        return display.text(self.path, self._rows())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return display.card(self.path, self._rows(), display.tile_grid(self.tiles, shape=self.shape))

    def _rows(self) -> list[tuple[str, str]]:
        rows, columns = self.shape
        bits = "/".join(map(str, sorted(set(self.bits))))
        return [
            ("image", f"{rows} x {columns}, {self.bands} band{'s' * (self.bands > 1)}, {bits} bits, {self.dtype}"),
            ("file", format_bytes(self.size)),
            ("tiles", f"{self.tiles[0]} x {self.tiles[1]} of {self.tile_shape[0]} x {self.tile_shape[1]}"),
            ("levels", ", ".join(f"{r}: {h} x {w}" for r, (h, w) in enumerate(self.levels))),
            ("coding", f"{self.progression}, {self.layers} layer{'s' * (self.layers > 1)}, {self.wavelet}"),
            ("markers", " ".join(self.markers)),
            ("CRS", self.crs or "none"),
            ("transform", "none" if self.transform is None else ", ".join(f"{v:.12g}" for v in self.transform)),
        ]


@dataclass(frozen=True, slots=True, repr=False)
class ReadPlan:
    """What a read would take."""

    path: str
    """Where the image lies, without credentials."""
    rlevel: int
    """Resolution levels dropped."""
    shape: tuple[int, int]
    """Rows and columns of the result."""
    dtype: str
    """The numpy type of its pixels."""
    requests: int
    """Requests to the store."""
    bytes: int
    """Bytes fetched."""
    size: int
    """Length of the file in bytes."""
    store: str
    """The profile of the store that this is planned by."""
    seconds: float
    """What fetching should take, by that profile."""
    tiles: int
    """Tiles that hold the pixels asked for."""
    tiles_of: int
    """Tiles of the image."""
    grid: tuple[int, int]
    """Rows and columns of tiles."""
    tile_rows: tuple[int, int]
    """First row of tiles that hold these pixels, and the first after them."""
    tile_columns: tuple[int, int]
    """First column of tiles that hold these pixels, and the first after them."""
    image_shape: tuple[int, int]
    """Rows and columns of the full image."""
    located_by: LocatedBy
    """How tile-parts are found."""
    precision: Precision
    """The unit of what is fetched."""
    exact: bool
    """Whether positions are known, so that the read takes just this; otherwise it is an estimate."""

    @property
    def share(self) -> float:
        """Bytes fetched, as a share of the file."""
        return self.bytes / self.size if self.size else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that json can write."""
        return asdict(self) | {"share": self.share}

    def __str__(self) -> str:
        return display.text(self.path, self._rows())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        drawing = display.tile_grid(
            self.grid, self.tile_rows, self.tile_columns, rlevel=self.rlevel, shape=self.image_shape
        )
        saved = display.bar(self.bytes, self.size, self._fetched())
        return display.card(self.path, self._rows(), display.stack([drawing, saved]))

    def _rows(self) -> list[tuple[str, str]]:
        about = "" if self.exact else "about "
        takes = f"; fetching takes about {self.seconds:.2f} s" if self.seconds > 0.01 else ""
        (top, bottom), (left, right) = self.tile_rows, self.tile_columns
        return [
            ("result", f"{self.shape[0]} x {self.shape[1]} {self.dtype} at rlevel {self.rlevel}"),
            ("fetches", self._fetched()),
            ("saves", f"{about}{format_bytes(max(0, self.size - self.bytes))}"),
            ("requests", f"{about}{self.requests}"),
            ("store", f"{self.store}{takes}"),
            ("tiles", f"{self.tiles} of {self.tiles_of}: rows {top} to {bottom - 1}, columns {left} to {right - 1}"),
            ("located by", f"{self.located_by}, read by {self.precision}"),
            ("exact", "yes" if self.exact else "no: an estimate"),
        ]

    def _fetched(self) -> str:
        about = "" if self.exact else "about "
        return f"{about}{format_bytes(self.bytes)} of {format_bytes(self.size)} ({self.share:.2%})"


def format_bytes(size: int) -> str:
    """Return a size as people read it: "3.05 MB"."""
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):  # the unit reached is the result
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"
