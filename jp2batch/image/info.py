"""Values for display: `ImageInfo` describes an image, `ReadPlan` a read."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from jp2batch.core import display
from jp2batch.core.map_area import Bounds
from jp2batch.image.georeference import Transform, image_bounds, lon_lat_bounds
from jp2batch.image.open import OpenImage
from jp2batch.image.place import place_of
from jp2batch.jpeg2000.geometry.grid import image_area, samples, tile_counts
from jp2batch.jpeg2000.plan.resolved_read import LocatedBy, Precision

_LONGEST_CRS = 70  # characters of WKT shown


@dataclass(frozen=True, slots=True, repr=False)
class ImageInfo:
    """Properties of an image, from its header."""

    path: str
    """Path or URL of the image, without credentials."""
    size: int
    """Size of the file in bytes."""
    shape: tuple[int, int]
    """Rows and columns of the full image."""
    bands: int
    """Number of components, or, with a palette, of channels."""
    bits: tuple[int, ...]
    """Bits per sample of each band."""
    dtype: str
    """numpy type of the pixels."""
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
    """True if a multiple component transformation is used."""
    htj2k: bool
    """True if coded in HTJ2K."""
    markers: tuple[str, ...]
    """Names of the marker segments in the main header."""
    crs: str | None
    """Coordinate reference system as "EPSG:32629" or WKT; None = unknown."""
    transform: Transform | None
    """Transform of pixel corners to coordinates; None = not georeferenced."""
    bounds: Bounds | None = None
    """Smallest x and y, largest x and y, in CRS units."""
    bbox: Bounds | None = None
    """Bounds in degrees of longitude and latitude, as `read` takes them."""

    def to_dict(self) -> dict[str, object]:
        """Return the fields as a JSON-serializable dict."""
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
            ("file", display.format_bytes(self.size)),
            ("tiles", f"{self.tiles[0]} x {self.tiles[1]} of {self.tile_shape[0]} x {self.tile_shape[1]}"),
            ("levels", ", ".join(f"{r}: {h} x {w}" for r, (h, w) in enumerate(self.levels))),
            ("coding", f"{self.progression}, {self.layers} layer{'s' * (self.layers > 1)}, {self.wavelet}"),
            ("markers", " ".join(self.markers)),
            ("CRS", _shortened(self.crs or "none")),
            ("transform", _numbers(self.transform, 12)),
            ("bounds", _numbers(self.bounds, 12)),
            ("bbox", _numbers(self.bbox, 8)),
        ]


def info_of(opened: OpenImage) -> ImageInfo:
    """Describe an open image."""
    header, siz = opened.image.header, opened.image.header.siz
    levels = [samples(siz, image_area(siz), level) for level in range(header.levels + 1)]
    place, shape = place_of(opened), (levels[0].height, levels[0].width)
    coding = header.codings[0]
    return ImageInfo(
        path=opened.source.path,
        size=opened.pieces.size,
        shape=shape,
        bands=len(opened.channels),
        bits=tuple(channel.bits for channel in opened.channels),
        dtype=str(opened.dtype),
        tiles=tile_counts(siz),
        tile_shape=(siz.ytsiz, siz.xtsiz),
        levels=tuple((area.height, area.width) for area in levels),
        progression=header.cod.progression,
        layers=header.cod.layers,
        wavelet="5/3 reversible" if coding.transform else "9/7 irreversible",
        code_block=(1 << coding.code_block[1], 1 << coding.code_block[0]),
        mct=bool(header.cod.mct),
        htj2k=header.htj2k,
        markers=tuple(dict.fromkeys(segment.name for segment in header.segments)),
        crs=None if place is None else f"EPSG:{place.epsg}" if place.epsg else place.crs_wkt,
        transform=None if place is None else place.transform,
        bounds=None if place is None else image_bounds(place.transform, shape),
        bbox=None if place is None else lon_lat_bounds(place, shape),
    )


def _shortened(crs: str) -> str:
    return crs if len(crs) <= _LONGEST_CRS else f"{crs[:_LONGEST_CRS]}…"


def _numbers(values: Sequence[float] | None, digits: int) -> str:
    return "none" if values is None else ", ".join(f"{value:.{digits}g}" for value in values)


@dataclass(frozen=True, slots=True, repr=False)
class ReadPlan:
    """Cost of a read, exact or estimated."""

    path: str
    """Path or URL of the image, without credentials."""
    rlevel: int
    """Resolution levels dropped."""
    shape: tuple[int, int]
    """Rows and columns of the result."""
    dtype: str
    """numpy type of the pixels."""
    requests: int
    """Number of requests to the store."""
    bytes: int
    """Bytes to fetch."""
    size: int
    """Size of the file in bytes."""
    store: str
    """Description of the assumed costs of the store."""
    seconds: float
    """Expected time of fetching, in seconds."""
    tiles: int
    """Number of tiles with requested pixels."""
    tiles_of: int
    """Number of tiles in the image."""
    grid: tuple[int, int]
    """Rows and columns of tiles."""
    tile_rows: tuple[int, int]
    """Range of tile rows with requested pixels: first, and last + 1."""
    tile_columns: tuple[int, int]
    """Range of tile columns with requested pixels: first, and last + 1."""
    image_shape: tuple[int, int]
    """Rows and columns of the full image."""
    located_by: LocatedBy
    """How tile-parts are found."""
    precision: Precision
    """Unit of fetching."""
    exact: bool
    """True if positions are known; otherwise the plan is an estimate."""
    bytes_wanted: int = 0
    """Estimate of the bytes needed, without any fetched along."""
    request_worth: int = 0
    """Bytes worth a request, under a quota of requests; else 0."""
    reasons: tuple[str, ...] = ()
    """Reasons for reading less precisely."""

    @property
    def share(self) -> float:
        """Bytes to fetch, as a share of the file."""
        return self.bytes / self.size if self.size else 0.0

    def to_dict(self) -> dict[str, object]:
        """Return the fields and `share` as a JSON-serializable dict."""
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
            ("saves", f"{about}{display.format_bytes(max(0, self.size - self.bytes))}"),
            ("requests", f"{about}{self.requests}"),
            ("store", f"{self.store}{takes}"),
            ("tiles", f"{self.tiles} of {self.tiles_of}: rows {top} to {bottom - 1}, columns {left} to {right - 1}"),
            *self._trade(),
            ("located by", f"{self.located_by}, read by {self.precision}"),
            *(("because", reason) for reason in self.reasons),
            ("exact", "yes" if self.exact else "no: an estimate"),
        ]

    def _trade(self) -> list[tuple[str, str]]:
        """Return the bytes fetched along under a quota, and the reason."""
        if not self.request_worth:
            return []
        extra = max(0, self.bytes - self.bytes_wanted)
        worth = display.format_bytes(self.request_worth)
        return [("quota", f"about {display.format_bytes(extra)} fetched along: a request is worth {worth} of the line")]

    def _fetched(self) -> str:
        about = "" if self.exact else "about "
        return f"{about}{display.share(self.bytes, self.size)}"
