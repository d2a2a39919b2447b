"""Run `jp2batch run`, and check its output and records."""

import functools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

import jp2batch
from jp2batch import cli
from jp2batch.batch.deduplicate import items_of
from support.oracle import Oracle
from support.waiting import wait_until


def write_rows(path: Path, rows: list) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def run(manifest: object, output: object, *arguments: object) -> Result:
    command = ["run", manifest, "-o", output, "--local-threads", *arguments]
    return CliRunner().invoke(cli.main, [str(argument) for argument in command])


def start(*arguments: object, **options) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "jp2batch", "run", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **options)


class Errors:
    """Lines of a process on stderr, as they come."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.lines: list[str] = []
        self._process = process
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        self.lines.extend(line.decode() for line in self._process.stderr)

    def wait_for(self, text: str, number: int = 1) -> None:
        """Wait until so many lines have a text."""
        wait_until(lambda: sum(text in line for line in self.lines) >= number)

    def wait_for_end(self) -> int:
        with self._process:
            code = self._process.wait(100)
            self._thread.join()
        return code


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
    deadline = time.monotonic() + 120
    while not path.exists() or path.read_bytes().count(b"\n") < number:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def check_pixels(records: Path, manifest: Path, failed: Mapping[str, str], where: Callable[[str], str] = str) -> None:
    """Check records, failures and pixels of a run.

    Each item must have a record, only the items in `failed` may fail, and all pixels must be OpenJPEG's.

    Parameters
    ----------
    records : Path
        Records of a run with a folder of .npy files as output.
    manifest : Path
        Manifest of the run.
    failed : mapping
        Types of expected errors, by names of images.
    where : callable, optional
        Finds the local copy of an image by its path in the manifest.
    """
    found = check_records(records, manifest)
    for item in items_of(jp2batch.read_manifest(manifest)):
        record = found[item.id]
        if Path(item.path).name in failed:
            assert (record["status"], record["error"]["type"]) == ("failed", failed[Path(item.path).name])
            continue
        assert record["status"] == "ok", record["error"]
        oracle, lowest = whole_image(where(item.path))
        level = lowest if item.rlevel < 0 else item.rlevel
        expected = oracle.at(level) if item.window is None else oracle.window(level, item.window)
        values = np.load(record["output"])
        np.testing.assert_array_equal(values if values.ndim == 2 else np.moveaxis(values, -1, 0), np.squeeze(expected))


@functools.cache
def whole_image(path: str) -> tuple[Oracle, int]:
    """Return OpenJPEG's decodes of a whole file, and its lowest resolution level."""
    info = jp2batch.inspect(path)
    return Oracle(Path(path).read_bytes(), (0, 0), (info.bands, *info.shape), info.dtype), len(info.levels) - 1
