"""The rooms of the package, their jobs, and the rooms below them.

`tests/project/test_rooms.py` enforces this table; CONTRIBUTING.md shows the drawing generated from it.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

ROOMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "core": ("the values used everywhere: Request, Window, Location, errors, configuration, costs", ()),
    "jpeg2000": ("the format, ITU-T T.800: bytes in, values out; no I/O, no decoder", ("core",)),
    "storage": ("the bytes: ranged, concurrent, counted reads and writes of objects", ("core",)),
    "sentinel2": ("the mission: names, metadata, bands, products", ("jpeg2000", "storage")),
    "image": ("a single image: open, plan, read, decode, georeference, index", ("sentinel2",)),
    "plugins": ("readers for other libraries: odc-stac's driver, rio-tiler's readers", ("image",)),
    "sample": ("small Sentinel-2-like products", ("image",)),
    "compute": ("where work runs: threads, dask clusters, subprocesses; a task and its Result", ("image",)),
    "doctor": ("checks of installation, configuration, stores; and hints", ("compute",)),
    "array": ("xarray objects: DataArray, engine, products, cubes, file formats", ("compute",)),
    "batch": ("many requests: manifests, executors, outputs, records, resume", ("array",)),
    "service": ("the HTTP endpoint, on tornado", ("batch",)),
    "cli": ("the command line: parses, calls, prints, exits", ("service", "doctor", "sample")),
}
"""Rooms from the bottom up, with their jobs and the rooms directly below."""


def below(room: str) -> set[str]:
    """Return all rooms below a room, directly or indirectly."""
    _, floors = ROOMS[room]
    return set(floors).union(*map(below, floors))


def drawing() -> str:
    """Return the rooms as text, from the top, with their jobs and arrows."""
    width = max(map(len, ROOMS))
    lines = [f"{room:<{width}}  {job}" for room, (job, _) in reversed(ROOMS.items())]
    arrows = [f"{room} -> {', '.join(floors)}" for room, (_, floors) in reversed(ROOMS.items()) if floors]
    return "\n".join(["jp2batch/", *(f"  {line}" for line in lines), "", *arrows])


def contributing() -> str:
    """Return CONTRIBUTING.md with the current drawing."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    before, mark, rest = text.partition("<!-- rooms -->\n")
    _, end, after = rest.partition("<!-- end of rooms -->")
    return f"{before}{mark}```text\n{drawing()}\n```\n{end}{after}"
