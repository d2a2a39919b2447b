"""Configuration is dask's."""

import os
import subprocess
import sys

import dask
import pytest

from jp2batch.core import config
from jp2batch.core.errors import ConfigurationError
from jp2batch.core.store_settings import store_costs


def test_defaults_are_those_of_the_file():
    assert config.first_read() == 8192
    assert config.max_result() == 4 << 30
    assert config.openjpeg_library() is None
    assert config.threads() >= 1


def test_a_store_without_a_profile_has_the_default():
    assert store_costs("nothing-known") == store_costs("nothing-known-either", "or.there")
    assert store_costs("nothing-known").name == "default"
    assert store_costs("file").latency == 0


@pytest.mark.parametrize(
    ("protocol", "host", "profile"),
    [
        ("s3", "", "aws"),
        ("s3", "eodata.dataspace.copernicus.eu", "cdse"),
        ("https", "s3.eu-central-1.amazonaws.com", "aws"),
        ("https", "storage.googleapis.com", "gcs"),
        ("https", "notamazonaws.com", "default"),
        ("https", "EODATA.dataspace.copernicus.eu", "cdse"),
        ("gs", "", "gcs"),
        ("file", "", "local"),
        ("memory", "", "local"),
    ],
)
def test_a_host_comes_before_its_domain_and_that_before_the_protocol(protocol, host, profile):
    assert store_costs(protocol, host).name == profile
    with dask.config.set({"jp2batch.stores": {host or protocol: "cdse", protocol: "cdse"}}):
        assert store_costs(protocol, host).requests_per_minute == 2000


def test_values_of_ones_own_are_not_measured():
    with dask.config.set({"jp2batch.measure": True}):
        assert store_costs("s3").measured
        assert not store_costs("file").measured
        with dask.config.set({"jp2batch.stores": {"s3": {"latency": "5ms"}, "gs": {"measured": True}}}):
            assert not store_costs("s3").measured
            assert store_costs("gs").measured
            assert store_costs("file").latency == 0  # what is not named stays as it is


def test_profiles_of_ones_own_have_names():
    mine = {"mine": {"bandwidth": "1 MB", "requests_per_minute": 60}}
    with dask.config.set({"jp2batch.profiles": mine, "jp2batch.stores": {"store.example": "mine"}}):
        found = store_costs("https", "eu.store.example")
    assert (found.name, found.bandwidth, found.requests_per_minute) == ("mine", 1e6, 60)
    assert found.latency == store_costs("https").latency
    assert str(found) == "mine: 30 ms, 128 x 1 MB/s, 60 requests/min"


def test_a_profile_may_name_only_what_differs():
    with dask.config.set({"jp2batch.stores": {"s3": {"latency": "5ms"}}}):
        assert store_costs("s3").latency == 0.005
        assert store_costs("s3").connections == store_costs("gs").connections


def test_environment_variables_change_it():
    code = "from jp2batch.core import config; print(config.max_result(), config.threads())"
    settings = {"DASK_JP2BATCH__MAX_RESULT": "1 MiB", "DASK_JP2BATCH__THREADS": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | settings, capture_output=True, text=True, check=True
    )
    assert (done.stdout.split(), done.stderr) == (["1048576", "3"], "")


@pytest.mark.parametrize(
    ("setting", "read"),
    [
        ({"jp2batch.max-result": "much"}, config.max_result),
        ({"jp2batch.first-read": None}, config.first_read),
        ({"jp2batch.threads": "many"}, config.threads),
        ({"jp2batch.stores": 3}, lambda: store_costs("s3")),
        ({"jp2batch.stores": {"s3": {"latency": "slow"}}}, lambda: store_costs("s3")),
        ({"jp2batch.stores": {"s3": 5}}, lambda: store_costs("s3")),
        ({"jp2batch.stores": {"s3": "unknown"}}, lambda: store_costs("s3")),
        ({"jp2batch.stores": {"s3": {"gap": "4 KiB"}}}, lambda: store_costs("s3")),
        ({"jp2batch.stores": {"s3": {"bandwidth": 0}}}, lambda: store_costs("s3")),
        ({"jp2batch.profiles": 3}, lambda: store_costs("s3")),
        ({"jp2batch.index": False}, config.index_settings),
        ({"jp2batch.index.enabled": "nope"}, config.index_settings),
        ({"jp2batch.index.disk": "much"}, config.index_settings),
        ({"jp2batch.retries.attempts": "x"}, config.retry_policy),
        ({"jp2batch.retries": 8}, config.retry_policy),
        ({"jp2batch.deadline": -1}, config.deadline),
    ],
)
def test_a_value_that_cannot_be_read_is_named(setting, read):
    with dask.config.set(setting), pytest.raises(ConfigurationError, match=next(iter(setting))):
        read()


@pytest.mark.parametrize("value", ["0", "False", "false"])
def test_the_index_is_switched_off_by_a_variable(value):
    code = "from jp2batch.core import config; print(config.index_settings().enabled)"
    env = os.environ | {"DASK_JP2BATCH__INDEX__ENABLED": value}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_value_in_place_of_a_section_is_not_lost_in_the_defaults(tmp_path):
    (tmp_path / "mine.yaml").write_text("jp2batch: {index: false, max_result: 1 MiB}", encoding="utf-8")
    code = "from jp2batch.core import config; print(config.max_result()); config.index_settings()"
    env = {name: value for name, value in os.environ.items() if not name.startswith("DASK_")}
    env["DASK_CONFIG"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "1048576"
    assert "jp2batch.index False is not a section (give a section with enabled, folder" in done.stderr


def test_more_requests_bytes_and_rounds_take_longer():
    store = store_costs("s3")
    assert store.seconds(1, 10**6, 1) < store.seconds(1, 10**7, 1) < store.seconds(1, 10**7, 3)
    assert store.seconds(121, 10**6, 1) < store.seconds(121, 10**6, 121)


def test_a_policy_may_name_only_what_differs_and_with_underscores():
    usual = config.retry_policy()
    with dask.config.set({"jp2batch.retries": {"longest_wait": "7s"}}):
        assert config.retry_policy().longest_wait == 7
        assert config.retry_policy().attempts == usual.attempts


def test_a_block_in_which_the_configuration_is_loaded_leaves_the_defaults():
    program = (
        "import dask, jp2batch\n"
        'with dask.config.set({"jp2batch.stores.file": "aws"}):\n'
        "    from jp2batch.core import config\n"
        "    from jp2batch.core.store_settings import store_costs\n"
        '    assert store_costs("file").name == "aws"\n'
        'with dask.config.set({"jp2batch.stores.ftp": "gcs"}):\n'
        '    assert [store_costs(name).name for name in ("file", "s3", "ftp")] == ["local", "aws", "gcs"]\n'
        "assert config.settings() == config.DEFAULTS['jp2batch']\n"
        "assert config.first_read() == 8192\n"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("DASK_")}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
