"""The rooms of the package: what each is for, and on which others it stands.

`tests/project/test_rooms.py` holds the package to this table; CONTRIBUTING.md shows the drawing made of it.
"""

ROOMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "core": ("the words that everybody speaks: Request, Window, Location, errors, configuration, costs", ()),
    "jpeg2000": ("the format, ITU-T T.800: bytes in, values out; no I/O, no decoder", ("core",)),
    "storage": ("the bytes: ranged, concurrent, counted reads and writes of one object", ("core",)),
    "sentinel2": ("the mission: names, metadata, bands, products", ("jpeg2000", "storage")),
    "image": ("one image: open, plan, read, decode, georeference, index", ("sentinel2",)),
    "sample": ("small Sentinel-2-like products", ("image",)),
    "compute": ("where work runs: threads, dask clusters, a process of its own; one task and its Result", ("image",)),
    "doctor": ("what is installed, found, reachable; and the hint", ("compute",)),
    "array": ("xarray objects: DataArray, engine, products, cubes, file formats", ("compute",)),
    "batch": ("many requests: manifests, executors, outputs, records, resume", ("array",)),
    "service": ("the HTTP endpoint, on tornado", ("batch",)),
    "cli": ("the command line: parses, calls, prints, exits", ("service", "doctor", "sample")),
}
"""From the bottom up: a room, its job, and the rooms that it stands on, which stand on others in turn."""


def below(room: str) -> set[str]:
    """Return the rooms that a room may import from, directly or by another room."""
    _, floors = ROOMS[room]
    return set(floors).union(*map(below, floors))
