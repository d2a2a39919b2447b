"""Images without georeference have that of their tile's metadata."""

from pathlib import Path

import pytest

import jp2batch
from jp2batch.sample.product import make_product
from jp2batch.sentinel2.tile_metadata import tile_metadata_url

GRANULE = "GRANULE/L2A_T29UNU_A038058_20221005T115407"
OLD = "GRANULE/S2A_OPER_MSI_L1C_TL_EPA__20160811T174848_A000262_T33UUP"


@pytest.fixture
def bare(tmp_path) -> Path:
    """A product whose images have no boxes of georeference."""
    product = make_product(tmp_path, size=180, bands=["B04"])
    for image in product.rglob("*IMG_DATA/**/*.jp2"):
        image.write_bytes(image.read_bytes().replace(b"gml:RectifiedGrid", b"gml:RemovedXXGrid"))
    return product


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (f"s3://b/X.SAFE/{GRANULE}/IMG_DATA/R10m/a.jp2", f"s3://b/X.SAFE/{GRANULE}/MTD_TL.xml"),
        (f"zip://X/{GRANULE}/IMG_DATA/a.jp2::x.zip", f"zip://X/{GRANULE}/MTD_TL.xml::x.zip"),
        (f"{OLD}_N02.04/IMG_DATA/a.jp2", f"{OLD}_N02.04/{OLD[8:].replace('MSI', 'MTD')}.xml"),
        ("s3://b/tiles/33/U/UP/2018/10/21/0/R60m/B8A.jp2", "s3://b/tiles/33/U/UP/2018/10/21/0/metadata.xml"),
        ("a.jp2", None),
    ],
)
def test_the_metadata_of_a_tile_are_beside_its_images(path, place):
    assert tile_metadata_url(path) == place


@pytest.mark.parametrize("metres", [10, 20, 60])
def test_an_image_without_georeference_has_that_of_its_tile(bare, tmp_path, metres):
    whole = make_product(tmp_path / "whole", size=180, bands=["B04"])
    images = [str(next(product.rglob(f"*_B04_{metres}m.jp2"))) for product in (bare, whole)]
    found, expected = map(jp2batch.inspect, images)
    assert (found.crs, found.transform) == (expected.crs, expected.transform) != (None, None)
    opened, read = jp2batch.open(images[0]), jp2batch.read(images[0], 0)
    assert opened.x.identical(read.x)
    assert opened.spatial_ref.attrs == jp2batch.open(images[1]).spatial_ref.attrs
    cube = jp2batch.open_cube(bare, bands="B04", metres=metres)
    assert cube.spatial_ref.attrs["crs_wkt"] == opened.spatial_ref.attrs["crs_wkt"]


FIELD = "POLYGON ((499990 5899990, 500900 5899990, 500900 5899000, 499990 5899990))"


@pytest.mark.parametrize("act", [jp2batch.read, jp2batch.open])
def test_the_metadata_of_the_tile_are_read_once(bare, http_server, act):
    files = [path for path in bare.rglob("*") if path.is_file()]
    http_server.files = {str(path.relative_to(bare.parent)): path.read_bytes() for path in files}
    image = next(name for name in http_server.files if name.endswith("_B04_60m.jp2"))
    act(http_server.url(image), 0, geometry=FIELD, crs=32629)
    assert sum(path.endswith("/MTD_TL.xml") for path in http_server.paths) == 1


def damage(metadata: Path) -> None:
    metadata.write_bytes(metadata.read_bytes()[:300])


def resize(metadata: Path) -> None:
    metadata.write_text(metadata.read_text().replace("<NROWS>180<", "<NROWS>90<"))


@pytest.mark.parametrize("spoil", [Path.unlink, damage, resize])
def test_metadata_that_do_not_fit_give_no_georeference(bare, spoil):
    spoil(next(bare.rglob("MTD_TL.xml")))
    image = next(bare.rglob("*_B04_10m.jp2"))
    assert jp2batch.inspect(str(image)).crs is None
    assert jp2batch.read(str(image), 0).x.values[1] == 1
