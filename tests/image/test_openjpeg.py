"""The decoder: from memory, in many threads, with whatever library there is."""

import ctypes.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from jp2batch.core.errors import CorruptImage
from jp2batch.image import openjpeg
from jp2batch.sample.encode import Coding
from support.images import PLAIN, Made

pytestmark = pytest.mark.system_openjpeg
TELL = "from jp2batch.image.openjpeg import library; print(library().found_by, library().path)"


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    settings = {key: value for key, value in os.environ.items() if not key.startswith("DASK_JP2BATCH")}
    return subprocess.run(
        [sys.executable, "-c", code], env=settings | environment, capture_output=True, text=True, check=False
    )


def test_it_decodes_what_glymur_decodes(tmp_path):
    openjpeg.library()
    import glymur

    path = tmp_path / "image.jp2"
    path.write_bytes(PLAIN.data)
    for rlevel in range(5):
        expected = glymur.Jp2k(path)[:: 2**rlevel, :: 2**rlevel]
        out = np.zeros((1, *expected.shape), np.uint16)
        assert openjpeg.decode(PLAIN.data, out, reduce=rlevel) == []
        np.testing.assert_array_equal(out[0], expected)


def test_it_writes_into_a_part_of_an_array():
    out = np.full((1, 40, 50), 7, np.uint16)
    openjpeg.decode(PLAIN.data, out[:, 10:20, 5:45:2], origin=(3, 4))
    whole = PLAIN.oracle.at(0)
    np.testing.assert_array_equal(out[:, 10:20, 5:45:2], whole[:, 3:13, 4:24])
    out[:, 10:20, 5:45:2] = 7
    assert (out == 7).all()


@pytest.mark.parametrize(("bits", "signed"), [(1, False), (8, False), (8, True), (12, True), (16, False), (16, True)])
def test_samples_keep_their_sign_and_range(bits, signed):
    image = Made(Coding(tile=None, bits=bits, signed=signed))
    low = -(1 << bits - 1) if signed else 0
    values = image.oracle.at(0)
    assert (values.min(), values.max()) == (low, low + (1 << bits) - 1)


def test_each_thread_gets_its_own_errors():
    bad, good = PLAIN.data[: len(PLAIN.data) // 2], PLAIN.data

    def decode(index: int) -> str:
        out = np.zeros((1, 101, 118), np.uint16)
        try:
            openjpeg.decode(bad if index % 2 else good, out)
        except CorruptImage as error:
            return str(error)
        return "fine" if np.array_equal(out, PLAIN.oracle.at(0)) else "wrong"

    PLAIN.oracle.at(0)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(decode, range(64)))
    assert set(results[::2]) == {"fine"}
    assert all("OpenJPEG cannot decode it" in result and "it gave no reason" not in result for result in results[1::2])


@pytest.mark.parametrize("shape", [(2, 101, 118), (1, 102, 118), (1, 101, 119)])
def test_an_unexpected_shape_is_refused(shape):
    with pytest.raises(CorruptImage, match=r"were expected|samples, not"):
        openjpeg.decode(PLAIN.data, np.zeros(shape, np.uint16))


def test_the_copy_inside_pillow_is_found_where_there_is_no_other(tmp_path):
    if ctypes.util.find_library("openjp2"):
        pytest.skip("the system has a library of its own")
    done = run(TELL, XDG_CONFIG_HOME=str(tmp_path))
    assert done.stdout.startswith("pillow "), done.stderr
    assert "libopenjp2" in done.stdout


def pillows_library() -> Path:
    path = openjpeg._inside_pillow()
    if path is None:
        pytest.skip("this Pillow carries no OpenJPEG")
    return Path(path)


def test_a_configured_library_comes_first(tmp_path):
    copy = tmp_path / "libopenjp2.so"
    copy.symlink_to(pillows_library())
    done = run(TELL, DASK_JP2BATCH__OPENJPEG_LIBRARY=str(copy), XDG_CONFIG_HOME=str(tmp_path))
    assert done.stdout.split() == ["configuration", str(copy)], done.stderr


def test_glymurs_own_configuration_comes_before_pillow(tmp_path):
    (tmp_path / "glymur").mkdir()
    (tmp_path / "glymur" / "glymurrc").write_text(f"[library]\nopenjp2: {pillows_library()}\n")
    done = run(TELL, XDG_CONFIG_HOME=str(tmp_path))
    assert done.stdout.startswith("glymur "), done.stderr


def test_glymur_may_have_been_imported_before(tmp_path):
    done = run(f"import glymur; {TELL}", XDG_CONFIG_HOME=str(tmp_path))
    assert "libopenjp2" in done.stdout, done.stderr


@pytest.mark.parametrize("path", ["/nowhere/libopenjp2.so", "README.md"])
def test_a_configured_library_that_is_none_is_named(path, tmp_path):
    code = (
        "from jp2batch.image import openjpeg\nfrom jp2batch.core import errors\n"
        "try: openjpeg.library()\n"
        "except errors.ConfigurationError as e: print(e)"
    )
    done = run(code, DASK_JP2BATCH__OPENJPEG_LIBRARY=path, XDG_CONFIG_HOME=str(tmp_path))
    assert path in done.stdout, done.stderr
    assert done.stdout.count("\n") == 1


def test_without_any_library_one_line_says_what_to_install(tmp_path):
    code = (
        "import ctypes.util, importlib.util\n"
        "ctypes.util.find_library = lambda name: None\n"
        "importlib.util.find_spec = lambda name: None\n"
        "from jp2batch.image import openjpeg\nfrom jp2batch.core import errors\n"
        "try: openjpeg.library()\n"
        "except errors.OpenJpegNotFound as e: print(e)"
    )
    done = run(code, XDG_CONFIG_HOME=str(tmp_path))
    assert "pip install pillow" in done.stdout, done.stderr
    assert done.stdout.count("\n") == 1
