"""Zarr groups as files, with consolidated metadata.

zarr warns when it writes consolidated metadata, but not when it reads them. A reader then needs a single object, and no
listing, to know all arrays of a group.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import xarray as xr

METADATA = "zarr.json"
"""Name of the metadata in the folder of a group or array."""

EMPTY_GROUP = orjson.dumps({"attributes": {}, "zarr_format": 3, "node_type": "group"})
"""Metadata of a group without members."""

_CONSOLIDATED = "consolidated_metadata"


def zarr_files(dataset: "xr.Dataset") -> dict[str, bytes]:
    """Return the files of a dataset by name.

    Chunks of dask arrays are left out.
    """
    stored: dict[str, Any] = {}
    dataset.to_zarr(stored, consolidated=False, compute=False)
    files = {name: buffer.to_bytes() for name, buffer in stored.items()}
    return regrouped(files)


def regrouped(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of a group with new consolidated metadata."""
    members = {name.removesuffix(f"/{METADATA}"): data for name, data in files.items() if name.endswith(f"/{METADATA}")}
    return {**files, METADATA: consolidated(files[METADATA], members)}


def has_consolidated(group: bytes) -> bool:
    """Return whether metadata of a group include its members'."""
    return _CONSOLIDATED in orjson.loads(group)


def consolidated(group: bytes, members: Mapping[str, bytes]) -> bytes:
    """Return the metadata of a group, including its members' by path.

    Members of members are included, if their metadata have them.
    """
    found: dict[str, object] = {}
    for path, data in sorted(members.items()):
        member = orjson.loads(data)
        inner = member.pop(_CONSOLIDATED, {}).get("metadata", {})
        found |= {path: member} | {f"{path}/{name}": one for name, one in sorted(inner.items())}
    told = {"kind": "inline", "must_understand": False, "metadata": found}
    return orjson.dumps(orjson.loads(group) | {_CONSOLIDATED: told})
