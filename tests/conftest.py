"""Fixtures for all tests."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import pytest
from hypothesis import settings

from jp2batch.core.runtime import fresh_runtime
from jp2batch.sample.product import make_product

pytest_plugins = ["support.servers"]
sys.path.append(str(Path(__file__).resolve().parents[1]))  # for `benchmarks`; last: the installed package is tested

os.environ |= {"DASK_JP2BATCH__INDEX__ENABLED": "False", "DASK_JP2BATCH__MEASURE": "False"}  # for child processes
os.environ |= {"DASK_JP2BATCH__RETRIES__HEDGED": "0"}
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells have it for a job in the background, and its children
    signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("jp2batch", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("jp2batch")


@pytest.fixture(autouse=True)
def impatience() -> Iterator[None]:
    """Let retries wait no longer than a test likes to, and no request be repeated because this machine is busy."""
    with dask.config.set({"jp2batch.retries.first-wait": "1ms", "jp2batch.retries.hedged": 0}):
        yield


@pytest.fixture(autouse=True)
def amnesia() -> Iterator[None]:
    """Let each read be the first one, whatever others have learned of images and stores."""
    with fresh_runtime(), dask.config.set({"jp2batch.index.enabled": False, "jp2batch.measure": False}):
        yield


@pytest.fixture
def dear_bytes() -> Iterator[None]:
    """Let bytes from web servers be so dear that even of a small image each range is a request of its own."""
    with dask.config.set({"jp2batch.stores": {"http": {"line": "100 kB"}}}):
        yield


@pytest.fixture(scope="session")
def product(tmp_path_factory) -> Path:
    """Return the folder of a small made product."""
    return make_product(tmp_path_factory.mktemp("product"), size=1098)


@pytest.fixture(scope="session")
def image_of(product) -> Callable[[str], str]:
    """Return what finds an image of the product by the end of its name, as "B8A_60m"."""
    return lambda name: str(next(product.glob(f"**/*_{name}.jp2")))


@pytest.fixture(scope="session")
def band(image_of) -> str:
    """Return the path of a 60 m band."""
    return image_of("B8A_60m")
