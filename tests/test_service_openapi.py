"""`/openapi.json` is true: what it says of requests and answers is what the server does."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from services import Service, serving

pytest.importorskip("schemathesis", reason="needs the package schemathesis")


@pytest.fixture(scope="module", params=[{}, {"JP2BATCH_TOKENS": "a-token-of-some-length"}], ids=["open", "tokens"])
def server(request, tmp_path_factory, image_of) -> Iterator[Service]:
    root = tmp_path_factory.mktemp("root")
    shutil.copy(image_of("B8A_60m"), root / "B8A.jp2")
    with serving("--root", str(root), "--workers", "1", env=request.param) as running:
        yield running


def test_what_it_says_is_what_the_server_does(server, tmp_path):
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.address}/openapi.json", "--checks=all"]
    command += ["--exclude-checks=positive_data_acceptance"]  # no schema can say that a window must not be empty
    command += ["--phases=examples,coverage,fuzzing", "--max-examples=15", "--seed=1", "--no-color"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "5 passed" in done.stdout or "Tested: 5" in done.stdout


def test_each_error_of_the_table_is_described(server):
    document = json.loads(server.ask("/openapi.json").body)
    described = set(document["paths"]["/api/jp2"]["post"]["responses"])
    assert {"200", "400", "403", "404", "411", "413", "415", "422", "502", "503", "504"} <= described
