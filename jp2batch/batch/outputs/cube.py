"""Output as a cube in a Zarr store: a plane per item."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from jp2batch.array.zarr_files import METADATA
from jp2batch.batch.outputs.folder import Folder
from jp2batch.batch.records.book import RecordBook
from jp2batch.batch.state.place import StatePlace
from jp2batch.compute.task import WrittenOutput
from jp2batch.core.errors import InvalidRequest, StorageError
from jp2batch.core.file_formats import CUBE_FORMAT
from jp2batch.core.location import Location
from jp2batch.core.options import SecretDict, StorageOptions
from jp2batch.core.request import Request
from jp2batch.image.open import OpenImage
from jp2batch.image.read import Pixels
from jp2batch.jpeg2000.geometry.grid import Selection
from jp2batch.storage.directory import Directory, StoredFile
from jp2batch.storage.files import write_bytes

if TYPE_CHECKING:
    from distributed import Client

    from jp2batch.array.cube.stored import CubeAxes, CubeGrid


@dataclass(frozen=True, slots=True)
class AsPlane:
    """Write pixels to a plane of a cube."""

    bytes_per_sample: ClassVar[int] = 6  # a copy, and the encoded plane

    grid: "CubeGrid"
    folder: str
    storage_options: SecretDict

    def select(self, request: Request, opened: OpenImage) -> Selection:
        """Select the samples of the plane; refuse an unfit image."""
        return self.grid.select(request, opened)

    def __call__(self, pixels: Pixels, request: Request) -> WrittenOutput:
        """Write a plane; return its path, size and checksum."""
        path = f"{self.folder}/{self.grid.axes.plane_name(request)}"
        written = write_bytes(path, self.grid.plane(pixels, request), storage_options=self.storage_options)
        return WrittenOutput(Location.of(path).redacted, written.size, f"md5:{written.md5}")


class CubeStore(Folder):
    """A Zarr array of times, bands, rows and columns.

    Its grid is fixed by the headers of all images when the run begins. Workers write planes; a plane without successful
    item is filled with no data.
    """

    needs_all = True
    _axes: "CubeAxes"

    def __init__(self, url: str, storage_options: StorageOptions = None) -> None:
        super().__init__(f"{url.rstrip('/')}/cube", "", storage_options)
        self._url, self._options = url.rstrip("/"), storage_options
        self.place = StatePlace.beside(self._url, storage_options)
        self._store, self._groups = Directory(self._url, storage_options), False
        self._items: Sequence[Request] = ()
        self._files: dict[str, bytes] = {}

    def expect(self, items: Sequence[Request], fingerprint: str) -> None:  # noqa: ARG002
        """Fix times and bands by the names of images.

        Raises
        ------
        CubeMismatch
            A name lacks band or time, an item has a window, or equal items have different times.
        """
        from jp2batch.array.cube.stored import CubeAxes, distinct_requests  # imports xarray

        self._items = distinct_requests(items)
        self._axes = CubeAxes.of(self._items)

    def prepare(self, client: "Client | None") -> None:
        """Fix the grid by the headers of all images; change nothing.

        Raises
        ------
        InvalidRequest
            The images do not fit into a cube, or the store has another cube.
        """
        from jp2batch.array.cube.stored import is_same_cube, plan_stored_cube

        grid, files = plan_stored_cube(self._items, client, self._options)
        if not self._store.has(METADATA):
            self._files = files
        elif not is_same_cube(files, self._read(files)):
            raise self._mismatch("rows, columns or numbers")
        self.deliver = AsPlane(grid, f"{self._url}/cube", SecretDict.of(self._options))

    def name_of(self, item: Request, read: Request) -> str:  # noqa: ARG002  # equal requests share a plane
        """Return the name of the plane of an item."""
        return self._axes.plane_name(item)

    def stored(self, book: RecordBook) -> Mapping[str, StoredFile]:
        """Return the planes by name.

        Raises
        ------
        InvalidRequest
            The store has a cube of other times or bands.
        """
        from jp2batch.array.cube.stored import AXES_FILES, CubeAxes

        found = super().stored(book)
        if found and CubeAxes.read(self._read(AXES_FILES)) != self._axes:
            raise self._mismatch("times or bands")
        return found

    def is_whole(self, name: str) -> bool:
        """Return whether a plane is complete; local planes are decoded."""
        from jp2batch.array.cube.stored import is_readable

        return self.path is None or is_readable(self.path, name)

    def open(self, *, overwrite: bool) -> None:  # noqa: ARG002  # each plane is replaced by its successor
        """Create the store without planes; its metadata come last."""
        self._store.make()
        for name, data in self._files.items():
            self._store.below(name.rpartition("/")[0]).make()
            self._store.write(name, data)

    def _read(self, files: Iterable[str]) -> dict[str, bytes]:
        """Return the contents of a cube's files."""
        names = tuple(files)
        try:
            return dict(self._store.read_many(names))
        except StorageError:
            if all(map(self._store.has, names)):
                raise
        problem = "the Zarr store there is not a cube of a batch"
        raise InvalidRequest(Location.of(self._url), problem, "give another name, or remove it")

    def _mismatch(self, other: str) -> InvalidRequest:
        problem = f"the cube there has other {other}"
        return InvalidRequest(Location.of(self._url), problem, "give another name, or remove it")


def is_cube(location: Location, form: str | None) -> bool:
    """Return whether an output is a cube, by format or name."""
    return form == CUBE_FORMAT or (form is None and Path(location.plain_path).name.lower() == "cube.zarr")
