"""Index tables are small, and of each only what an image needs is read: bytes and requests are counted."""

from pathlib import Path

import dask
import numpy as np
import pyarrow.parquet as pq
import pytest

from jp2batch.core.store_settings import store_costs
from jp2batch.image.index.parquet_table import Table
from jp2batch.image.index.shared_index import shared_table
from jp2batch.image.index.table_layouts import KAYRROS, POSITIONS, WHOLE, TableLayout
from jp2batch.image.index.table_writer import table_writer
from jp2batch.jpeg2000.locate.image_index import ImageIndex
from jp2batch.jpeg2000.locate.tile_parts import consecutive
from jp2batch.jpeg2000.locate.tlm_entries import TILES_NAMED, tlm_segment
from jp2batch.storage.source import MemorySource
from support.images import MANY_TILES, REAL
from support.tile_part_rows import learn

TILES = 121  # of a 10 m band
BANDS = ("B02", "B03", "B04", "B08")
EMPTY = 63  # bytes of a tile-part beyond the edge of the swath
HEAD = np.random.default_rng(0).bytes(2500)  # as long as ESA's, with the georeference


def name(day: int, band: str) -> str:
    time = f"{2015 + day // 73}{day % 73 // 7 + 1:02}{day % 7 * 4 + 1:02}T103{day % 10}21"
    product = f"S2A_MSIL2A_{time}_N0400_R108_T32TNT_{time[:9]}1644{day % 60:02}"
    granule = f"L2A_T32TNT_A{38000 + 143 * day:06}_{time[:9]}1035{day % 59:02}"
    folder = f"Sentinel-2/MSI/L2A/{time[:4]}/{time[4:6]}/{time[6:8]}/{product}.SAFE/GRANULE/{granule}/IMG_DATA/R10m"
    return f"s3://eodata/{folder}/T32TNT_{time}_{band}_10m.jp2"


def series(days: int, *, tlm: bool = False) -> dict[str, ImageIndex]:
    """Return indexes of 10 m bands, with tile-parts as uneven as real ones: their deviation is 0.9 of their mean.

    Rows of tiles end beyond the edge of the swath; there is smooth sea; clouds come and go.
    """
    random = np.random.default_rng(1)
    ground = random.choice([60_000, 700_000], TILES, p=[0.35, 0.65]) * random.uniform(0.6, 1.2, TILES)
    outside = np.arange(TILES) % 11 > 9 - np.arange(TILES) // 44
    indexes = {}
    for day in range(days):
        clouds = random.lognormal(0, 0.3, TILES)
        for band in BANDS:
            lengths = np.where(outside, EMPTY, ground * clouds * random.lognormal(0, 0.1, TILES)).astype(int).tolist()
            parts = consecutive([(None, length) for length in lengths], 0)
            head = HEAD + tlm_segment(TILES_NAMED, parts) if tlm else HEAD
            parts = consecutive([(None, length) for length in lengths], len(head))
            size = len(head) + sum(lengths) + 2
            etag = f'"{random.bytes(16).hex()}"'
            indexes[name(day, band)] = ImageIndex(size, etag, ((0, head),), tuple(parts))
    return indexes


def write(folder: Path, indexes: dict[str, ImageIndex], layout: TableLayout = POSITIONS) -> Path:
    writer = table_writer(f"{folder}/", layout=layout)
    for key, index in indexes.items():
        writer.add(key, index)
    writer.finish()
    return folder / "32TNT.parquet"


@pytest.mark.parametrize("tlm", [False, True], ids=["no TLM", "TLM"])
def test_positions_and_main_header_take_350_bytes_a_file(tmp_path, tlm):
    indexes = series(64, tlm=tlm)
    lengths = [part.length for part in indexes[name(0, "B02")].tile_parts]
    assert 0.8 < np.std(lengths) / np.mean(lengths) < 1
    file = write(tmp_path / "index", indexes)
    assert file.stat().st_size <= 350 * len(indexes)
    table = shared_table(f"{tmp_path}/index/", {})
    for key, index in list(indexes.items())[::17]:
        found = table.get(key)
        assert found is not None
        assert (found.size, found.etag, found.tile_parts) == (index.size, index.etag, index.tile_parts)
        assert found.header_bytes == ((0, index.header_bytes[0][1] + b"\xff\x90"),)


def test_positions_in_kayrros_tables_take_350_bytes_a_file(tmp_path):
    indexes = {key: ImageIndex(one.size, None, (), one.tile_parts) for key, one in series(64).items()}
    assert write(tmp_path / "index", indexes, KAYRROS).stat().st_size <= 350 * len(indexes)


@pytest.mark.skipif(not REAL, reason="no real images beside the repository")
def test_positions_of_real_bands_take_350_bytes_a_file(tmp_path):
    bands = [
        learn(path.read_bytes()) for path in REAL if path.stem.endswith(("B02_60m", "B03_60m", "B04_60m", "B8A_60m"))
    ]
    assert len(bands) == 4
    file = write(tmp_path / "index", {name(day, BANDS[n]): one for day in range(64) for n, one in enumerate(bands)})
    assert pq.ParquetFile(file).metadata.num_rows == 256
    single = write(tmp_path / "single", {name(0, BANDS[n]): one for n, one in enumerate(bands)})
    columns = pq.ParquetFile(single).metadata.row_group(0)
    positions = (columns.column(n) for n in range(columns.num_columns))
    assert sum(one.total_compressed_size for one in positions if "lengths" in one.path_in_schema) <= 250 * len(bands)


def opened(file: Path) -> tuple[Table, list[MemorySource]]:
    """Return a table in memory, and its sources."""
    sources = []

    def source() -> MemorySource:
        sources.append(MemorySource(file.read_bytes(), profile=store_costs("s3")))
        return sources[-1]

    return Table(source), sources


def traffic(sources: list[MemorySource]) -> tuple[int, int]:
    return sum(one.meter.requests for one in sources), sum(one.meter.bytes_read for one in sources)


def test_of_a_large_table_only_a_row_group_is_read(tmp_path):
    indexes = series(256)
    file = write(tmp_path / "index", indexes)
    assert pq.ParquetFile(file).metadata.num_row_groups == 4
    table, sources = opened(file)
    requests, size = traffic(sources)
    assert (requests, size) <= (2, 64 << 10)
    for number, (key, index) in enumerate(sorted(indexes.items())[512:768]):
        found = table.get(key)
        assert found is not None
        assert found.size == index.size
        if not number:
            requests, size = traffic(sources)
    assert traffic(sources) == (requests, size)  # 256 neighbours cost nothing more
    assert requests <= 4  # adjacent columns are joined, if their writer left no gaps
    assert size <= 64 * 1024 + 256 * 350 < file.stat().st_size / 2


def test_a_small_table_takes_a_single_request(tmp_path):
    indexes = series(16)
    table, sources = opened(write(tmp_path / "index", indexes))
    assert all(table.get(key) for key in indexes)
    assert traffic(sources)[0] == 1


def test_an_image_outside_of_all_row_groups_costs_no_request(tmp_path):
    table, sources = opened(write(tmp_path / "index", series(128)))
    before = traffic(sources)
    assert table.get("s3://a/first.jp2") is table.get("s3://z/last.jp2") is None
    assert traffic(sources) == before


@pytest.mark.parametrize("layout", [WHOLE, KAYRROS], ids=["whole", "kayrros"])
def test_other_layouts_are_read_by_range_as_well(tmp_path, layout):
    known = learn(MANY_TILES)
    indexes = {name(day, band): known for day in range(128) for band in BANDS}
    file = write(tmp_path / "index", indexes, layout)
    table, sources = opened(file)
    for key in list(indexes)[:8]:
        assert table.get(key) is not None
    requests, size = traffic(sources)
    assert requests <= 4
    assert size <= file.stat().st_size / 2 or file.stat().st_size < 128 << 10


def test_over_the_web_a_read_takes_a_request_of_its_table_and_reads_as_before(http_server, tmp_path):
    write(tmp_path / "index", series(128))
    for file in (tmp_path / "index").iterdir():
        http_server.files[f"index/{file.name}"] = file.read_bytes()
    with dask.config.set({"jp2batch.index.enabled": False}):
        table = shared_table(http_server.url("index/"), {})
        assert all(table.get(key) for key in list(series(32)))
    paths = [path.rpartition("/")[2] for path in http_server.paths]
    assert paths == ["jp2batch-index.json", *["32TNT.parquet"] * 3]
    assert http_server.bytes_sent <= 64 * 1024 + 256 * 350 + 100
