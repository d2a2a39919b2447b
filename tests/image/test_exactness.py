"""Every way of reading gives the pixels of OpenJPEG's decode of the whole file."""

import itertools
from pathlib import Path

import dask
import numpy as np
import pytest

from jp2batch.core.costs import StoreCosts
from jp2batch.core.errors import EncodingError, InvalidWindow
from jp2batch.core.request import Request
from jp2batch.image import inspect, openjpeg
from jp2batch.image.read import Pixels, read_from, read_pixels
from jp2batch.sample.encode import Coding
from jp2batch.storage.source import MemorySource
from support.images import CHANGES, PLAIN, REAL, Made, choice_id, full_product, made, pairwise_choices
from support.oracle import Oracle, random_window
from support.reads import FREE, REMOTE, read

pytestmark = pytest.mark.system_openjpeg


def check_exact(
    image: Made, *, windows: int = 2, stores: tuple[StoreCosts, ...] = (FREE, REMOTE), whole: bool = False
) -> list[Pixels]:
    oracle, results = image.oracle, []
    rng = np.random.default_rng(len(image.data))
    for rlevel, store in itertools.product(range(image.coding.levels + 1), stores):
        pixels = read(image.data, rlevel, None, store, whole=whole)
        assert pixels.values.dtype == oracle.dtype
        np.testing.assert_array_equal(pixels.values, oracle.at(rlevel))
        results.append(pixels)
        for window in (random_window(rng, oracle.shape[1:]) for _ in range(windows)):
            expected = oracle.window(rlevel, window)
            if expected.size:
                np.testing.assert_array_equal(read(image.data, rlevel, window, store, whole=whole).values, expected)
            else:
                with pytest.raises(InvalidWindow, match="holds no sample"):
                    read(image.data, rlevel, window, store, whole=whole)
    return results


@pytest.mark.parametrize("choice", pairwise_choices(), ids=choice_id)
def test_any_coding_is_read_exactly(choice):
    results = check_exact(made(**choice))
    for pixels in results:
        assert pixels.stats.precision == ("packets" if choice["plt"] and pixels.selection.rlevel else "tile-parts")
        assert pixels.stats.reasons == (() if choice["plt"] or not pixels.selection.rlevel else ("no usable PLT",))


@pytest.mark.exhaustive
@pytest.mark.timeout(7200)
def test_the_product_of_codings_is_read_exactly():
    failed, refused = [], 0
    for choice in full_product():
        try:
            check_exact(made(**choice), windows=1, stores=(FREE,))
        except EncodingError:
            refused += 1  # OpenJPEG's buffer is too small for a few images of one bit
        except Exception as error:  # noqa: BLE001  # all failures are wanted
            failed.append((choice_id(choice), repr(error)[:200]))
    assert refused < 20
    assert not failed, "\n".join(map(str, failed))


@pytest.mark.parametrize("change", CHANGES)
def test_any_layout_of_the_file_is_read_exactly(change):
    coding = Coding(tile=(64, 64), precincts=(32, 32), code_block=(16, 16), layers=2)
    for pixels in check_exact(Made(coding, changed=(change,))):
        if "TLM" in change:
            assert pixels.stats.located_by == "tlm"


@pytest.mark.parametrize(("sampling", "offset"), [((2, 2), (5, 9)), ((1, 3), (5, 9)), ((4, 1), (7, 9))])
def test_equally_subsampled_components_are_read_exactly(sampling, offset):
    check_exact(Made(Coding(tile=(64, 64), subsampling=(sampling,) * 3, image_offset=offset), components=3))


@pytest.mark.parametrize("changed", [(), ("PLM",)])
def test_a_store_where_requests_are_dear_is_read_whole(changed):
    for pixels in check_exact(Made(PLAIN.coding, changed=changed), stores=(REMOTE,), whole=True):
        assert (pixels.stats.located_by, pixels.stats.precision) == ("whole", "file")
        assert pixels.stats.bytes_read == len(Made(PLAIN.coding, changed=changed).data)


def test_many_threads_decode_at_once():
    from concurrent.futures import ThreadPoolExecutor

    images = [made(**choice) for choice in pairwise_choices()[:6]]
    expected = [image.oracle.at(0) for image in images]

    def is_exact(index: int) -> bool:
        source = MemorySource(images[index].data, profile=FREE)
        return np.array_equal(read_from(source, lambda opened: opened.selected(0)).values, expected[index])

    with dask.config.set({"jp2batch.max-whole-file": 0}), ThreadPoolExecutor(12) as pool:
        assert all(pool.map(is_exact, [n % 6 for n in range(60)]))


@pytest.mark.skipif(not REAL, reason="no real images beside the repository")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_real_images_are_read_exactly(path: Path):
    info = inspect.inspect(str(path))
    oracle = Oracle(path.read_bytes(), (0, 0), (info.bands, *info.shape), info.dtype)
    rng = np.random.default_rng(3)
    for rlevel in range(len(info.levels)):
        pixels = read_pixels(Request(str(path), rlevel))
        np.testing.assert_array_equal(pixels.values, oracle.at(rlevel))
        for window in (random_window(rng, info.shape) for _ in range(4)):
            expected = oracle.window(rlevel, window)
            if expected.size:
                np.testing.assert_array_equal(read_pixels(Request(str(path), rlevel, window)).values, expected)


def glymur_samples() -> list[Path]:
    openjpeg.library()
    import glymur.data

    return sorted(Path(glymur.data.__file__).parent.glob("*.j*"))


@pytest.mark.parametrize("path", glymur_samples(), ids=lambda path: path.name)
def test_glymurs_sample_files_are_read_exactly(path: Path):
    openjpeg.library()
    import glymur

    info = inspect.inspect(str(path))
    for rlevel in range(len(info.levels)):
        whole = glymur.Jp2k(path)[:: 2**rlevel, :: 2**rlevel]
        expected = whole[np.newaxis] if whole.ndim == 2 else np.moveaxis(whole, 2, 0)
        np.testing.assert_array_equal(read_pixels(Request(str(path), rlevel)).values, expected)
