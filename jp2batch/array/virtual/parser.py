"""Parser of VirtualiZarr for JPEG 2000 files."""

from typing import TYPE_CHECKING, Any

import numpy as np

from jp2batch.array.virtual.references import absolute_url, locate_pyramid
from jp2batch.core.errors import InvalidRlevel
from jp2batch.core.options import SecretDict, StorageOptions

if TYPE_CHECKING:
    from virtualizarr.manifests import ManifestArray, ManifestGroup, ManifestStore

    from jp2batch.array.virtual.pyramid import Pyramid


class Jp2Parser:
    """Parser of VirtualiZarr: an image as a virtual pyramid of all levels.

    Layouts that fit are as for `write_references`. CRS and transform are attributes of the groups, as in GeoZarr. The
    headers are read by jp2batch, pixels by the stores of VirtualiZarr's registry.

    Parameters
    ----------
    rlevel : int, optional
        The level to read, for `open_virtual_dataset`. By default all, each in a group, for `open_virtual_datatree`.
    storage_options : mapping, optional
        fsspec's options for the store.
    """

    def __init__(self, *, rlevel: int | None = None, storage_options: StorageOptions = None) -> None:
        self.rlevel = rlevel
        self.storage_options = SecretDict.of(storage_options)

    def __call__(self, url: str, registry: Any) -> "ManifestStore":
        """Return the virtual store of an image.

        Raises
        ------
        UnsupportedImage
            Its layout does not fit; `open` reads it.
        ConfigurationError
            A package is missing.
        """
        pyramid = locate_pyramid([url], "virtualizarr", self.storage_options)
        from virtualizarr.manifests import ManifestGroup, ManifestStore

        rlevels = pyramid.first.rlevels
        if self.rlevel is None:
            groups = {str(rlevel): _group(pyramid, rlevel) for rlevel in rlevels}
            return ManifestStore(ManifestGroup(groups=groups, attributes=pyramid.attributes()), registry=registry)
        if self.rlevel not in rlevels:
            raise InvalidRlevel(url, f"rlevel {self.rlevel} is not in this image", f"it has 0 to {rlevels[-1]}")
        return ManifestStore(_group(pyramid, self.rlevel), registry=registry)


def _group(pyramid: "Pyramid", rlevel: int) -> "ManifestGroup":
    from virtualizarr.manifests import ManifestGroup

    arrays = {name: _array(pyramid, name, rlevel) for name in pyramid.bands}
    return ManifestGroup(arrays=arrays, attributes=pyramid.level_attributes(rlevel))


def _array(pyramid: "Pyramid", name: str, rlevel: int) -> "ManifestArray":
    from virtualizarr.manifests import ChunkManifest, ManifestArray
    from virtualizarr.manifests.utils import create_v3_array_metadata

    from jp2batch.array.virtual.codecs import Jp2TileCodec

    image = pyramid.bands[name]
    metadata = create_v3_array_metadata(
        shape=image.level_shape(rlevel),
        data_type=image.dtype.newbyteorder("<"),
        chunk_shape=image.chunk_shape(rlevel),
        codecs=[Jp2TileCodec.of(image, rlevel).to_dict()],
        dimension_names=("y", "x"),
    )
    manifest = ChunkManifest.from_arrays(
        paths=np.full(image.starts.shape, absolute_url(image.url), dtype=np.dtypes.StringDType()),
        offsets=image.starts.astype(np.uint64),
        lengths=image.lengths[rlevel].astype(np.uint64),
    )
    return ManifestArray(metadata, manifest)
