"""Runs of `jp2batch run`, and the check of what they leave behind."""

import json
import subprocess
import sys
import time
from pathlib import Path

from click.testing import CliRunner, Result

import jp2batch
from jp2batch import cli
from jp2batch.items import items_of


def write_rows(path: Path, rows: list) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def run(manifest: object, output: object, *arguments: object) -> Result:
    command = ["run", manifest, "-o", output, "--local-threads", *arguments]
    return CliRunner().invoke(cli.main, [str(argument) for argument in command])


def start(*arguments: object, **options) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "jp2batch", "run", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **options)


def lines(path: Path) -> list[dict]:
    text = path.read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def check_records(path: Path, manifest: Path) -> dict[str, dict]:
    """Check that each item has exactly one record; return them by id."""
    records = lines(path)
    items = items_of(jp2batch.read_manifest(manifest))
    assert sorted(record["id"] for record in records) == sorted(item.id for item in items)
    return {record["id"]: record for record in records}


def check_lines(path: Path, manifest: Path, *, failed: int = 0) -> None:
    """Check that lines and records are complete, and the lines right."""
    records = check_records(path.with_name(f"{path.name}.records.ndjson"), manifest)
    found = {line["id"]: line for line in lines(path)}
    assert len(found) == len(lines(path)) == len(records) - failed
    for request in items_of(jp2batch.read_manifest(manifest)):
        assert (records[request.id]["status"] == "ok") == (request.id in found)
        if request.id in found:
            expected = jp2batch.respond({"Path": request.path, "rlevel": request.rlevel, "window": request.window})
            assert list(found[request.id]) == ["id", *expected]
            assert found[request.id]["img_data"] == expected["img_data"]
            assert found[request.id]["shape"] == expected["shape"]


def wait_for_records(path: Path, number: int) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() or path.read_bytes().count(b"\n") < number:
        assert time.monotonic() < deadline
        time.sleep(0.005)
