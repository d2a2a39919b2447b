"""The rooms of the package: what each is for, and on which others it stands.

`tests/project/test_rooms.py` holds the package to this table; CONTRIBUTING.md shows the drawing made of it.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

ROOMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "core": ("the words that everybody speaks: Request, Window, Location, errors, configuration, costs", ()),
    "jpeg2000": ("the format, ITU-T T.800: bytes in, values out; no I/O, no decoder", ("core",)),
    "storage": ("the bytes: ranged, concurrent, counted reads and writes of one object", ("core",)),
    "sentinel2": ("the mission: names, metadata, bands, products", ("jpeg2000", "storage")),
    "image": ("one image: open, plan, read, decode, georeference, index", ("sentinel2",)),
    "sample": ("small Sentinel-2-like products", ("image",)),
    "compute": ("where work runs: threads, dask clusters, a process of its own; one task and its Result", ("image",)),
    "doctor": ("what is installed, found, reachable; and how to repair it", ("compute",)),
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


def drawing() -> str:
    """Return the rooms as text: the top first, each with its job and the rooms below it."""
    width = max(map(len, ROOMS))
    lines = [f"{room:<{width}}  {job}" for room, (job, _) in reversed(ROOMS.items())]
    arrows = [f"{room} -> {', '.join(floors)}" for room, (_, floors) in reversed(ROOMS.items()) if floors]
    return "\n".join(["jp2batch/", *(f"  {line}" for line in lines), "", *arrows])


def contributing() -> str:
    """Return CONTRIBUTING.md with the present drawing."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    before, mark, rest = text.partition("<!-- rooms -->\n")
    _, end, after = rest.partition("<!-- end of rooms -->")
    return f"{before}{mark}```text\n{drawing()}\n```\n{end}{after}"
