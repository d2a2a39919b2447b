"""`/openapi.json` is true: what it says of requests and answers is what the server does."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jp2batch.service.openapi import document
from jp2batch.service.representations import TYPES
from jp2batch.service.roots import Root
from jp2batch.service.settings import Settings
from support.services import Service, serving

FOLDER = Settings({"default": Root("default", "/data/images")})
CONFIG = """
[checks.positive_data_acceptance]
# A path may lead out of its root; an image may lack an rlevel or a window; and an answer may be too large.
expected-statuses = ["2xx", "400", "401", "403", "404", "413", "422", "503"]
[checks.negative_data_rejection]
# A path can be too long for a query.
expected-statuses = ["400", "401", "403", "404", "405", "406", "415", "422", "431", "503"]
"""


@pytest.fixture(scope="module", params=[{}, {"JP2BATCH_TOKENS": "a-token-of-some-length"}], ids=["open", "tokens"])
def server(request, tmp_path_factory, image_of) -> Iterator[Service]:
    """Return a server that has the image of the document's example."""
    root = tmp_path_factory.mktemp("root")
    (example,) = document(FOLDER)["components"]["schemas"]["Request"]["examples"]
    (root / example["Path"]).parent.mkdir(parents=True)
    shutil.copy(image_of("B8A_60m"), root / example["Path"])
    with serving("--root", str(root), "--workers", "1", env=request.param) as running:
        yield running


def schemathesis(server: Service, folder: Path, *options: str) -> str:
    """Let schemathesis look for untruths; return what it says where it finds none."""
    pytest.importorskip("schemathesis", reason="needs the package schemathesis")
    (folder / "schemathesis.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.address}/openapi.json", "--checks=all"]
    command += ["--seed=1", "--no-color", "--header=Authorization: Bearer a-token-of-some-length", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    return done.stdout


def forms_given(server: Service) -> set[str]:
    """Return the media types of images that were sent."""
    return {line["type"] for line in server.lines if line.get("url") == "/api/jp2" and line["status"] == 200}


def test_what_it_says_is_what_the_server_does(server, tmp_path):
    said = schemathesis(server, tmp_path, "--phases=examples,coverage,fuzzing", "--max-examples=15")
    assert re.search(r"^ *Tested: 9$", said, re.MULTILINE), said[-1500:]  # all but the document itself
    assert {*TYPES} & forms_given(server)


@pytest.mark.parametrize("form", TYPES)
def test_each_form_is_as_it_says(server, tmp_path, form):
    schemathesis(server, tmp_path, f"--header=Accept: {form}", "--phases=examples", "--include-path=/api/jp2")
    assert form in forms_given(server)


def test_each_error_of_the_table_is_described(server):
    described = set(json.loads(server.ask("/openapi.json").body)["paths"]["/api/jp2"]["post"]["responses"])
    assert {
        "200",
        "400",
        "403",
        "404",
        "406",
        "408",
        "411",
        "413",
        "415",
        "422",
        "431",
        "502",
        "503",
        "504",
    } <= described
