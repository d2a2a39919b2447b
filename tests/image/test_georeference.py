import struct
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import rioxarray  # noqa: F401 - gives xarray its .rio
import xarray as xr
from affine import Affine
from hypothesis import example, given
from hypothesis import strategies as st

import jp2batch
from jp2batch.core.errors import InvalidWindow
from jp2batch.image.geo_boxes import from_boxes
from jp2batch.image.geo_keys import defined_crs
from jp2batch.image.georeference import Georeference, Transform, coordinates, level_transform
from jp2batch.jpeg2000.syntax.boxes import Box
from support.images import SHARED

GEOTIFF_UUID = bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03")
NORTH_UP = Affine(10, 0, 499980, 0, -20, 5900040)
ROTATED = Affine(8, -3, 499980, -4, -9, 5900040)
UTM_29N = (10.0, 0.0, 499980.0, 0.0, -20.0, 5900040.0)


def boxes_of(path: Path) -> tuple[Box, ...]:
    # A superbox holds boxes in the same form as a file does.
    return tuple(Box("jp2h", path.read_bytes()).children())


def box(kind: str, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind.encode()) + content


def gml_box(document: str) -> Box:
    instance = box("lbl ", b"gml.root-instance") + box("xml ", document.encode())
    return Box("asoc", box("lbl ", b"gml.data") + box("asoc", instance))


def gml(
    srs: str = "urn:ogc:def:crs:EPSG::32629",
    centre: str = "<g:pos>499985 5900030</g:pos>",
    vectors: tuple[str, ...] = ("10 0", "0 -20"),
    axes: tuple[str, ...] = ("x", "y"),
    comment: str = "",
) -> str:
    return f"""<g:FeatureCollection xmlns:g="http://www.opengis.net/gml"><!--{comment}--><g:RectifiedGrid dimension="2">
      {"".join(f"<g:axisName>{axis}</g:axisName>" for axis in axes)}
      <g:origin><g:Point srsName="{srs}">{centre}</g:Point></g:origin>
      {"".join(f"<g:offsetVector>{vector}</g:offsetVector>" for vector in vectors)}
    </g:RectifiedGrid></g:FeatureCollection>"""


def geotiff_box(tags: dict[int, tuple[float, ...]], order: str = "<") -> Box:
    """Tags whose values are integers become SHORT, others DOUBLE."""
    start = 8 + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, numbers in sorted(tags.items()):
        kind, code = (3, "H") if all(isinstance(number, int) for number in numbers) else (12, "d")
        entries += struct.pack(order + "HHLL", tag, kind, len(numbers), start + len(values))
        values += struct.pack(f"{order}{len(numbers)}{code}", *numbers)
    head = struct.pack(order + "2sHLH", b"II" if order == "<" else b"MM", 42, 8, len(tags))
    return Box("uuid", GEOTIFF_UUID + head + entries + bytes(4) + values)


def geokeys(**keys: int) -> tuple[int, ...]:
    numbers = {"model": 1024, "raster": 1025, "geographic": 2048, "projected": 3072}
    entries = [(numbers[name], 0, 1, value) for name, value in keys.items()]
    return (1, 1, 0, len(entries), *(number for entry in entries for number in entry))


def write_by_gdal(path: Path, crs: object, transform: Affine, **options: str) -> None:
    profile = {"driver": "JP2OpenJPEG", "width": 32, "height": 16, "count": 1, "dtype": "uint8", **options}
    with rasterio.open(path, "w", crs=crs, transform=transform, **profile) as dataset:
        dataset.write(np.zeros((1, 16, 32), np.uint8))


def make_pixel_is_point(path: Path) -> None:
    area, point = struct.pack("<4H", 1025, 0, 1, 1), struct.pack("<4H", 1025, 0, 1, 2)
    assert path.read_bytes().count(area) == 1
    path.write_bytes(path.read_bytes().replace(area, point))


def verify_as_rasterio(path: Path) -> Georeference:
    found = from_boxes(boxes_of(path))
    assert found is not None
    with rasterio.open(path) as dataset:
        assert found.transform == pytest.approx(tuple(dataset.transform)[:6], rel=1e-12, abs=1e-9)
        assert found.epsg == dataset.crs.to_epsg()
        assert found.crs_wkt is not None
        assert pyproj.CRS(found.crs_wkt) == pyproj.CRS.from_epsg(dataset.crs.to_epsg())
    return found


def at(transform: Transform, col: float, row: float) -> tuple[float, float]:
    a, b, c, d, e, f = transform
    return a * col + b * row + c, d * col + e * row + f


# What the files of others say


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real images beside the repository")
def test_real_files_lie_where_rasterio_has_them():
    paths = sorted(SHARED.glob("**/*.jp2"))
    assert paths
    for path in paths:
        found = verify_as_rasterio(path)
        assert found.epsg == 32629
        assert found.transform[2::3] == (499980.0, 5900040.0)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="both"),
        pytest.param({"GeoJP2": "NO"}, id="gmljp2"),
        pytest.param({"GeoJP2": "NO", "GMLJP2V2_DEF": "YES"}, id="gmljp2-v2"),
        pytest.param({"GMLJP2": "NO"}, id="geojp2"),
    ],
)
@pytest.mark.parametrize("transform", [NORTH_UP, ROTATED], ids=["north-up", "rotated"])
@pytest.mark.parametrize("epsg", [32629, 4326, 4258, 3035, 2193, 3031, 32661, 3413, 27700, 31467])
def test_files_written_by_gdal_lie_where_rasterio_has_them(tmp_path, epsg, transform, options):
    if epsg in {4326, 4258}:
        transform = Affine(*(transform[i] * 1e-4 if i % 3 < 2 else {2: -9.0, 5: 53.0}[i] for i in range(6)))
    path = tmp_path / "image.jp2"
    write_by_gdal(path, f"EPSG:{epsg}", transform, **options)
    found = verify_as_rasterio(path)
    if transform[1] == 0 or "GeoJP2" not in options:  # in GMLJP2, GDAL writes the rotation terms transposed
        assert found.transform == pytest.approx(tuple(transform)[:6], rel=1e-9)


@pytest.mark.parametrize("transform", [NORTH_UP, ROTATED], ids=["north-up", "rotated"])
def test_offset_vectors_exchanged_by_gdal_are_put_back(tmp_path, transform):
    with rasterio.Env(GDAL_JP2K_ALT_OFFSETVECTOR_ORDER=True):
        write_by_gdal(tmp_path / "image.jp2", "EPSG:3035", transform, GeoJP2="NO")
    verify_as_rasterio(tmp_path / "image.jp2")


def test_geojp2_of_pixel_centres_lies_where_rasterio_has_it(tmp_path):
    path = tmp_path / "image.jp2"
    write_by_gdal(path, "EPSG:32629", NORTH_UP, GMLJP2="NO")
    make_pixel_is_point(path)
    assert verify_as_rasterio(path).transform == (10.0, 0.0, 499975.0, 0.0, -20.0, 5900050.0)


def test_rotated_geojp2_of_pixel_centres_lies_where_rasterio_has_the_geotiff(tmp_path):
    # GDAL shifts a transformation matrix by half a pixel in GeoTIFF, as the standard wants, and forgets to in GeoJP2.
    tiff, image = tmp_path / "image.tif", tmp_path / "image.jp2"
    write_by_gdal(tiff, "EPSG:32629", ROTATED, driver="GTiff")
    write_by_gdal(image, "EPSG:32629", ROTATED, GMLJP2="NO")
    make_pixel_is_point(tiff)
    make_pixel_is_point(image)
    with rasterio.open(tiff) as dataset:
        assert from_boxes(boxes_of(image)).transform == tuple(dataset.transform)[:6]


DEFINED = [
    "+proj=eqc +lat_ts=10 +lon_0=180 +R=3396190",  # as HiRISE
    "+proj=eqc +lat_ts=35 +lat_0=5 +lon_0=-10 +x_0=1000 +R=3396190",
    "+proj=stere +lat_0=90 +lat_ts=75 +lon_0=10 +a=3396190 +b=3376200",
    "+proj=stere +lat_0=-90 +lon_0=10 +k=0.99 +R=3396190",
    "+proj=tmerc +lat_0=49 +lon_0=-2 +k=0.9996 +x_0=400000 +y_0=-100000 +ellps=airy",
    "+proj=lcc +lat_0=40 +lon_0=20 +lat_1=30 +lat_2=50 +x_0=5e5 +datum=WGS84",
    "+proj=lcc +lat_0=40 +lon_0=20 +lat_1=40 +k_0=0.999 +ellps=intl",
    "+proj=laea +lat_0=10 +lon_0=20 +ellps=bessel +units=us-ft",
    "+proj=aea +lat_0=23 +lon_0=-96 +lat_1=29.5 +lat_2=45.5 +datum=NAD83 +units=ft",
    "+proj=sinu +lon_0=10 +R=1737400",
    "+proj=longlat +R=3396190",
]


@pytest.mark.parametrize("crs", DEFINED)
def test_a_defined_crs_is_that_of_rasterio(tmp_path, crs):
    path = tmp_path / "image.jp2"
    transform = Affine(0.1, 0, 20, 0, -0.1, 50) if "longlat" in crs else NORTH_UP
    write_by_gdal(path, crs, transform, GMLJP2="NO")
    found = from_boxes(boxes_of(path))
    assert found is not None
    assert (found.transform, found.epsg) == (tuple(transform)[:6], None)
    with rasterio.open(path) as dataset:
        expected = pyproj.CRS.from_wkt(dataset.crs.to_wkt())
    own = pyproj.CRS.from_wkt(found.crs_wkt)
    assert own.ellipsoid.semi_major_metre == pytest.approx(expected.ellipsoid.semi_major_metre, rel=1e-12)
    assert own.ellipsoid.inverse_flattening == pytest.approx(expected.ellipsoid.inverse_flattening, rel=1e-9)
    if own.is_projected:
        degrees = np.array([[-5.0, 12, 30], [50, 60, 45]]) * (-1 if "lat_0=-90" in crs else 1)
        pair = [pyproj.Transformer.from_crs(one.geodetic_crs, one, always_xy=True) for one in (own, expected)]
        np.testing.assert_allclose(*(one.transform(*degrees) for one in pair), rtol=1e-12)


def test_an_image_of_another_planet_is_read_by_its_own_map(tmp_path):
    path, mars = tmp_path / "mars.jp2", DEFINED[0]
    write_by_gdal(path, mars, Affine(1, 0, 1000, 0, -1, 5000), GMLJP2="NO")
    info = jp2batch.inspect(str(path))
    assert (info.bbox, info.crs[:16]) == (None, 'PROJCRS["unknown')
    assert max(map(len, str(info).splitlines())) < 100
    part = jp2batch.read(str(path), bbox=(1010, 4990, 1020, 4995), crs=mars)
    assert (part.shape, float(part.x[0])) == ((5, 10), 1010.5)
    assert pyproj.CRS(part.rio.crs.to_wkt()).ellipsoid.semi_major_metre == 3396190
    with pytest.raises(InvalidWindow, match="of another planet"):
        jp2batch.read(str(path), bbox=(0, 0, 1, 1))


@pytest.mark.parametrize("crs", ["+proj=ortho +lat_0=10 +R=3396190", "+proj=laea +lat_0=10 +pm=paris +ellps=bessel"])
def test_an_unknown_projection_leaves_the_transform_alone(tmp_path, crs):
    write_by_gdal(tmp_path / "image.jp2", crs, NORTH_UP, GMLJP2="NO")
    assert from_boxes(boxes_of(tmp_path / "image.jp2")) == Georeference(UTM_29N, None, None)


def test_file_without_georeference_has_none(tmp_path):
    write_by_gdal(tmp_path / "image.jp2", "EPSG:32629", NORTH_UP, GeoJP2="NO", GMLJP2="NO")
    assert from_boxes(boxes_of(tmp_path / "image.jp2")) is None
    assert from_boxes([]) is None


# GMLJP2


@pytest.mark.parametrize(
    ("srs", "epsg"),
    [
        ("urn:ogc:def:crs:EPSG::32629", 32629),
        ("urn:ogc:def:crs:EPSG:6.9:32629", 32629),
        ("urn:x-ogc:def:crs:epsg::32629", 32629),
        ("EPSG:32629", 32629),
        (" epsg:32629 ", 32629),
        ("http://www.opengis.net/def/crs/EPSG/0/32629", 32629),
        ("https://www.opengis.net/def/crs/EPSG/0/32629", 32629),
        ("urn:ogc:def:crs:EPSG::99999999", None),
        ("urn:ogc:def:crs:EPSG::", None),
        ("urn:ogc:def:crs:EPSG::32629abc", None),
        ("EPSG:CRS84", None),
        ("urn:ogc:def:crs:OGC::32629", None),
        ("gmljp2://xml/CRSDictionary.gml#ogrcrs1", None),
        ("", None),
    ],
)
def test_names_of_reference_systems(srs, epsg):
    found = from_boxes([gml_box(gml(srs))])
    assert found is not None
    assert found.transform == UTM_29N
    assert found.epsg == epsg
    assert (found.crs_wkt is None) == (epsg is None)


@pytest.mark.parametrize(
    ("srs", "axes", "swapped"),
    [
        ("urn:ogc:def:crs:EPSG::4326", ("x", "y"), True),
        ("http://www.opengis.net/def/crs/EPSG/0/4326", ("x", "y"), True),
        ("EPSG:4326", ("x", "y"), False),
        ("urn:ogc:def:crs:OGC:1.3:CRS84", ("x", "y"), False),
        ("urn:ogc:def:crs:EPSG::4326", ("Longitude", "Latitude"), False),
        ("urn:ogc:def:crs:EPSG::3035", ("Easting", "Northing"), False),
        ("urn:ogc:def:crs:EPSG::3035", ("Northing", "Easting"), True),
    ],
)
def test_axes_are_swapped_where_the_name_implies_northing_first(srs, axes, swapped):
    vectors = ("0 0.5", "-0.25 0") if swapped else ("0.5 0", "0 -0.25")
    centre = "<g:pos>52.875 9.25</g:pos>" if swapped else "<g:pos>9.25 52.875</g:pos>"
    found = from_boxes([gml_box(gml(srs, centre, vectors, axes))])
    assert found is not None
    assert found.transform == (0.5, 0.0, 9.0, 0.0, -0.25, 53.0)
    assert found.crs_wkt is not None


def test_gml_coordinates_and_a_third_dimension_are_understood():
    assert from_boxes([gml_box(gml(centre="<g:coordinates>499985,5900030</g:coordinates>"))]).transform == UTM_29N
    three = gml(centre="<g:pos> 499985\n5900030 12 </g:pos>", vectors=("10,0,0", "0,-20,0"))
    assert from_boxes([gml_box(three)]).transform == UTM_29N


@pytest.mark.parametrize(
    "srs_elsewhere",
    [
        gml().replace("<g:RectifiedGrid ", '<g:RectifiedGrid srsName="EPSG:32629" '),
        gml().replace("<g:offsetVector>", '<g:offsetVector srsName="EPSG:32629">'),
        gml().replace("<g:RectifiedGrid", '<g:Envelope srsName="EPSG:32629"/><g:RectifiedGrid'),
    ],
)
def test_srs_name_is_found_beside_the_point(srs_elsewhere):
    document = srs_elsewhere.replace('srsName="urn:ogc:def:crs:EPSG::32629"', "")
    assert from_boxes([gml_box(document)]).epsg == 32629


def test_the_grid_names_its_system_before_the_envelope_of_all():
    envelope = '<g:boundedBy><g:Envelope srsName="http://www.opengis.net/def/crs/EPSG/0/4326"/></g:boundedBy>'
    document = gml("").replace("<g:RectifiedGrid ", envelope + '<g:RectifiedGrid srsName="EPSG:32629" ')
    assert from_boxes([gml_box(document.replace('srsName=""', ""))]) == from_boxes([gml_box(gml())])


@pytest.mark.parametrize(
    "document",
    [
        "",
        "<unclosed>",
        "<nothing/>",
        gml(centre=""),
        gml(centre="<g:pos/>"),
        gml(centre="<g:pos>499985</g:pos>"),
        gml(centre="<g:pos>east north</g:pos>"),
        gml(centre="<g:pos>nan 1e999</g:pos>"),
        gml(vectors=()),
        gml(vectors=("10 0",)),
        gml(vectors=("0 0", "0 0")),
        gml(vectors=("10 10", "10 10")),
        '<?xml version="1.0" encoding="no-such"?><a/>',
        '<!DOCTYPE a [<!ENTITY b "c">]>' + gml(centre="<g:pos>&b;</g:pos>"),
    ],
)
def test_damaged_gml_is_no_error_and_gives_way_to_geojp2(document):
    assert from_boxes([gml_box(document)]) is None
    geotiff = geotiff_box({33550: (10.0, 20.0, 0.0), 33922: (0.0, 0.0, 0.0, 499980.0, 5900040.0, 0.0)})
    assert from_boxes([geotiff, gml_box(document)]) == Georeference(UTM_29N, None, None)


def test_other_xml_is_passed_over():
    inventory = Box("xml ", b"<Inventory_Metadata/>")
    assert from_boxes([inventory, gml_box(gml())]).epsg == 32629


# GeoJP2

SCALED = {33550: (10.0, 20.0, 0.0), 33922: (2.0, 3.0, 0.0, 500000.0, 5899980.0, 0.0)}
MATRIX = {34264: (10.0, 0.0, 0.0, 499980.0, 0.0, -20.0, 0.0, 5900040.0, *[0.0] * 7, 1.0)}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("grid", [SCALED, MATRIX])
@pytest.mark.parametrize(
    ("keys", "epsg"),
    [
        (geokeys(model=1, raster=1, projected=32629), 32629),
        (geokeys(model=2, raster=1, geographic=4326), 4326),
        (geokeys(model=1, raster=1, geographic=4326, projected=32767), None),
        (geokeys(model=1, raster=1, geographic=4326), None),
        (geokeys(raster=1), None),
        (geokeys(model=1, projected=32629)[:-2], None),
    ],
)
def test_geojp2_grids_and_keys(order, grid, keys, epsg):
    found = from_boxes([geotiff_box({**grid, 34735: keys}, order)])
    assert found is not None
    assert found.transform == UTM_29N
    assert found.epsg == epsg
    assert (found.crs_wkt is None) == (epsg is None)


def test_geojp2_comes_first_unless_only_gmljp2_names_the_crs():
    geotiff = geotiff_box({**SCALED, 34735: geokeys(model=2, geographic=4326)})
    assert from_boxes([gml_box(gml()), geotiff]).epsg == 4326
    assert from_boxes([gml_box(gml()), geotiff_box(SCALED)]).epsg == 32629


# Hostile bytes

GOOD_GEOTIFF = geotiff_box({**SCALED, 34735: geokeys(model=1, raster=2, projected=32629)}).content
GOOD_GML = gml_box(gml("urn:ogc:def:crs:EPSG::4326")).content


@st.composite
def damaged(draw, good: bytes) -> bytes:
    content = bytearray(good[: draw(st.integers(0, len(good)))] if draw(st.booleans()) else good)
    for _ in range(draw(st.integers(0, 8))):
        start = draw(st.integers(0, len(content)))
        content[start : start + draw(st.integers(0, 4))] = draw(st.binary(max_size=8))
    return bytes(content)


def verify_none_or_usable(boxes: list[Box]) -> None:
    found = from_boxes(boxes)
    if found is not None:
        assert np.isfinite(found.transform).all()
        assert not (~Affine(*found.transform)).is_degenerate


@given(
    st.dictionaries(
        st.sampled_from([1024, 2048, 2050, 2051, 2054, 2056, 2057, 2058, 2059, 2061, 3072, *range(3074, 3096)]),
        st.one_of(st.sampled_from([1, 2, 8, 15, 17, 4326, 6326, 7030, 9001, 9102, 32767]), st.floats(), st.just(3e6)),
    )
)
@example({3075: 17, 3078: 1.7976931348623157e308})
def test_any_geokeys_define_a_crs_or_none(keys):
    finite = {key: value for key, value in keys.items() if np.isfinite(value)}
    for fixed in ({}, {2048: 32767, 2057: 6e6, 2058: 6e6, 3072: 32767}, {2048: 4326, 3072: 32767, 3078: 20.0}):
        found = defined_crs({1024: 1, 3075: 17} | finite | fixed)
        assert found is None or pyproj.CRS.from_wkt(found)


@given(damaged(GOOD_GEOTIFF[16:]))
@example(b"II\x2b\0\x08\0\0\0")
@example(b"II\x2b\0\x08\0\0\0" + b"\xff" * 8)
@example(b"II\x2a\0" + b"\xff" * 4)
def test_damaged_geojp2_never_raises(content):
    verify_none_or_usable([Box("uuid", GEOTIFF_UUID + content)])


@given(damaged(GOOD_GML))
def test_damaged_gmljp2_never_raises(content):
    verify_none_or_usable([Box("asoc", content)])


@given(st.binary(max_size=200), st.sampled_from(["xml ", "uuid", "asoc", "jp2h", "jp2c"]))
def test_noise_never_raises(content, kind):
    verify_none_or_usable([Box(kind, content)])


def test_hostile_sizes_are_passed_over():
    nested = b""
    for _ in range(5000):
        nested = box("asoc", nested)
    assert from_boxes([Box("asoc", nested)]) is None
    assert from_boxes([Box("asoc", box("xml ", b"") * 100_000)]) is None
    assert from_boxes([Box("xml ", gml().encode() + b" " * (5 << 20))]) is None
    assert from_boxes([Box("uuid", GOOD_GEOTIFF + bytes(1 << 20))]) is None


# Samples of reduced images


def test_a_10_m_band_keeps_its_first_centre_and_widens_its_spacing():
    transform = (10.0, 0.0, 499980.0, 0.0, -10.0, 5900040.0)
    x, y = coordinates(transform, 0, 0, 16, (687, 687))
    assert (x[0], y[0]) == (499985, 5900035)
    assert set(np.diff(x)) == {160}
    assert set(np.diff(y)) == {-160}
    assert x.dtype == y.dtype == np.float64
    assert level_transform(transform, 0, 0, 16) == (160, 0, 499905, 0, -160, 5900115)


def test_full_resolution_keeps_the_transform():
    assert level_transform(UTM_29N, 0, 0, 1) == UTM_29N
    assert level_transform(tuple(ROTATED)[:6], 0, 0, 1) == tuple(ROTATED)[:6]


def test_rotated_grid_has_a_transform_but_no_axes():
    rotated = tuple(ROTATED)[:6]
    assert coordinates(rotated, 0, 0, 2, (3, 4)) is None
    assert at(level_transform(rotated, 6, 10, 4), 2.5, 1.5) == at(rotated, 10 + 2 * 4 + 0.5, 6 + 4 + 0.5)


@given(
    first=st.tuples(st.integers(0, 20000), st.integers(0, 20000)),
    rlevel=st.integers(0, 10),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    pixel=st.sampled_from([10.0, 20.0, 60.0, 320.0]),
)
def test_coordinates_are_the_centres_of_the_level_transform(first, rlevel, shape, pixel):
    transform = (pixel, 0.0, 499980.0, 0.0, -pixel, 5900040.0)
    x, y = coordinates(transform, *first, 2**rlevel, shape)
    level = level_transform(transform, *first, 2**rlevel)
    assert (len(y), len(x)) == shape
    for i, j in [(0, 0), (shape[0] - 1, shape[1] - 1)]:
        assert at(level, j + 0.5, i + 0.5) == (x[j], y[i])
        assert at(transform, first[1] + j * 2**rlevel + 0.5, first[0] + i * 2**rlevel + 0.5) == (x[j], y[i])


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # affine's, at rioxarray's use of it
def test_rioxarray_agrees_on_coordinates_and_transform():
    x, y = coordinates(UTM_29N, 4, 8, 4, (5, 6))
    image = xr.DataArray(np.zeros((5, 6)), dims=("y", "x"), coords={"y": y, "x": x})
    assert tuple(image.rio.transform())[:6] == level_transform(UTM_29N, 4, 8, 4)
