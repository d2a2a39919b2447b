"""A secret in whatever is given, of whatever shape, is in no message, repr, log, answer or traceback."""

import gc
import itertools
import json
import logging
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import pytest
import xarray as xr
from click.testing import CliRunner

import jp2batch
from jp2batch.batch.manifest.read import manifest_of
from jp2batch.cli import main
from jp2batch.core import config
from jp2batch.core.errors import InvalidPath, Jp2BatchError
from jp2batch.core.store_settings import store_costs
from jp2batch.service.request_body import parse_body
from jp2batch.service.roots import Root
from jp2batch.storage.source import open_source
from support.services import Service, serving

SECRET = "s3samE-0pen"
SIGNED = f"https://me:{SECRET}@127.0.0.1:9/a.jp2?X-Amz-Signature={SECRET}"
ROOT = Path(__file__).resolve().parents[2]


class Odd:
    """An object whose repr tells all."""

    def __repr__(self) -> str:
        return f"Odd({SECRET})"

    __str__ = __repr__


class BytesPath:
    """A path as bytes."""

    def __fspath__(self) -> bytes:
        return SECRET.encode()


class BadMapping(dict[str, Any]):
    """A mapping whose repr tells all."""


SHAPES: dict[str, Any] = {
    "dict": {"aws_secret_access_key": SECRET},
    "dict by a secret": {SECRET: 1},
    "body": {"Path": {"token": SECRET}},
    "body of bytes": {"Path": SECRET.encode()},
    "body with an id": {"Path": "nowhere.jp2", "id": {"token": SECRET}},
    "body with a level": {"Path": "nowhere.jp2", "rlevel": SECRET},
    "body with a window": {"Path": "nowhere.jp2", "window": [SECRET]},
    "mapping": BadMapping(token=SECRET),
    "tuple": ("nowhere.jp2", {"secret": SECRET}),
    "nested": [[[SECRET]]],
    "list": [{"secret": SECRET}],
    "set": {(SECRET, 1)},
    "bytes": SECRET.encode(),
    "bytearray": bytearray(SECRET.encode()),
    "list of bytes": [SECRET.encode()],
    "object": Odd(),
    "list of objects": [Odd()],
    "class": type("Odder", (), {"__repr__": lambda _: SECRET})(),
    "path of bytes": BytesPath(),
    "error": ValueError(SECRET),
    "signed link": SIGNED,
    "signed link with a control character": f"https://me:{SECRET[:4]}\n{SECRET}@127.0.0.1:9/a.jp2?sig={SECRET}",
    "long signed link": f"https://me:{SECRET}@127.0.0.1:9/{'a' * 5000}?sig={SECRET}",
    "S3 with a user": f"s3://AKIA:{SECRET}@bucket/x.jp2",
    "list of signed links": [SIGNED, SIGNED],
    "unknown protocol": f"nosuch://me:{SECRET}@127.0.0.1:9/a.jp2?sig={SECRET}",
}


def texts_of(error: BaseException) -> Iterator[str]:
    """Iterate over all that may be printed of an error, and of those that led to it."""
    seen: set[int] = set()
    chain: list[BaseException | None] = [error]
    while chain:
        one = chain.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield from (str(one), repr(one), repr(one.args), *traceback.format_exception_only(one))
            chain += [one.__cause__, one.__context__]


def verify_no_secret(*texts: object) -> None:
    for text in texts:
        for part in (SECRET, SECRET.upper(), SECRET[:5], SECRET[5:]):
            assert part not in str(text), f"{part} is told"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no store be there, and nothing be tried twice."""
    for name, value in {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    with dask.config.set({"jp2batch.retries.attempts": 1}):
        yield


def _first(given: Any) -> object:
    return next(iter(jp2batch.as_completed(given)))


FUNCTIONS: dict[str, Callable[[Any], object]] = {
    "Request": jp2batch.Request,
    "Request, root": lambda given: jp2batch.Request("a.jp2", root=given),
    "Request, rlevel": lambda given: jp2batch.Request("a.jp2", given),
    "Request, window": lambda given: jp2batch.Request("a.jp2", 0, given),
    "Request, id": lambda given: jp2batch.Request("a.jp2", id=given),
    "Request, path below a root": lambda given: jp2batch.Request(given, root="s3://bucket"),
    "Request, path of a wrong level": lambda given: jp2batch.Request(given, 99),
    "Request, path of a wrong window": lambda given: jp2batch.Request(given, 0, "x"),
    "Request.columns": lambda given: jp2batch.Request("a.jp2", columns=(("token", given),)),
    "read": jp2batch.read,
    "read, scaled": lambda given: jp2batch.read(given, scaled=True),
    "read, rlevel": lambda given: jp2batch.read("nowhere.jp2", given),
    "read, window": lambda given: jp2batch.read("nowhere.jp2", 0, given),
    "read, wrong window": lambda given: jp2batch.read(given, 0, "x"),
    "read, root": lambda given: jp2batch.read("nowhere.jp2", root=given),
    "open": jp2batch.open,
    "open, window": lambda given: jp2batch.open("nowhere.jp2", window=given),
    "engine": lambda given: xr.open_dataset(given, engine="jp2batch"),
    "inspect": jp2batch.inspect,
    "inspect, root": lambda given: jp2batch.inspect("nowhere.jp2", root=given),
    "plan": jp2batch.plan,
    "plan, wrong window": lambda given: jp2batch.plan(given, 0, "x"),
    "respond": jp2batch.respond,
    "respond, Path": lambda given: jp2batch.respond({"Path": given}),
    "respond, rlevel": lambda given: jp2batch.respond({"Path": "nowhere.jp2", "rlevel": given}),
    "respond, window": lambda given: jp2batch.respond({"Path": "nowhere.jp2", "window": given}),
    "respond, id": lambda given: jp2batch.respond({"Path": "nowhere.jp2", "id": given}),
    "respond, root": lambda given: jp2batch.respond({"Path": "nowhere.jp2"}, root=given),
    "read_manifest": jp2batch.read_manifest,
    "read_manifest, rlevel": lambda given: jp2batch.read_manifest("nowhere.csv", rlevel=given),
    "list_requests": jp2batch.list_requests,
    "list_requests, bands": lambda given: jp2batch.list_requests("T29UNU_20221005T115411_B04_10m.jp2", given),
    "list_requests, metres": lambda given: jp2batch.list_requests("nowhere_B04_10m.jp2", metres=given),
    "list_requests, window": lambda given: jp2batch.list_requests("nowhere_B04_10m.jp2", window=given),
    "open_product": jp2batch.open_product,
    "open_product, rlevel": lambda given: jp2batch.open_product("nowhere.SAFE", rlevel=given),
    "open_product, bands": lambda given: jp2batch.open_product("nowhere.SAFE", given),
    "open_cube": jp2batch.open_cube,
    "open_cube, bands": lambda given: jp2batch.open_cube(["T29UNU_20221005T115411_B04_10m.jp2"], bands=given),
    "open_cube, metres": lambda given: jp2batch.open_cube(["nowhere.SAFE"], bands="B04", metres=given),
    "open_cube, align": lambda given: jp2batch.open_cube(["nowhere.SAFE"], align=given),
    "open_cube, missing": lambda given: jp2batch.open_cube(["nowhere.SAFE"], missing=given),
    "run": jp2batch.run,
    "run, output": lambda given: jp2batch.run("nowhere.jp2", output=given),
    "run, on_error": lambda given: jp2batch.run("nowhere.jp2", on_error=given),
    "as_completed": _first,
    "to_delayed": jp2batch.to_delayed,
    "to_delayed, output": lambda given: jp2batch.to_delayed("nowhere.jp2", given),
    "storage_options": lambda given: jp2batch.read("s3://bucket/a.jp2", storage_options=given),
    "storage_options, key": lambda given: jp2batch.read(
        "s3://bucket/a.jp2", storage_options={"key": given, "secret": given, "endpoint_url": "http://127.0.0.1:9"}
    ),
    "storage_options, headers": lambda given: jp2batch.read(
        "http://127.0.0.1:9/a.jp2", storage_options={"client_kwargs": {"headers": given}}
    ),
    "storage_options, headers of all kinds": lambda given: jp2batch.read(
        "http://127.0.0.1:9/a.jp2", storage_options={"headers": {"Authorization": given}}
    ),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:Unclosed:ResourceWarning")
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_no_public_function_tells_it(
    function: Callable[[Any], object], caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    for shape, given in SHAPES.items():
        if (function, shape) == (FUNCTIONS["storage_options"], "dict by a secret"):
            continue  # the names of options are no secrets
        try:
            answer = function(given)
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  # whatever it is
            texts = list(texts_of(error))
        else:
            html = getattr(answer, "_repr_html_", lambda: "")()
            texts = [repr(answer), str(answer), html, *_texts_of_results(answer)]
        try:
            verify_no_secret(*texts)
        except AssertionError as told:
            raise AssertionError(f"{shape}: {told}: {texts[0]}") from None
    gc.collect()  # aiohttp leaves a session behind whose options it refuses: it is to be told of here
    printed = capsys.readouterr()
    verify_no_secret(caplog.text, printed.out, printed.err)


def _texts_of_results(answer: object) -> Iterator[str]:
    for result in [answer, *getattr(answer, "results", ())]:
        error = getattr(result, "error", None)
        yield from (repr(result), str(result), *(texts_of(error) if error else ()))
        if isinstance(result, jp2batch.Result):
            verify_no_secret(json.dumps(result.record(), default=str))


@pytest.mark.parametrize(
    "given", [{"token": SECRET}, (SECRET,), SECRET.encode(), Odd()], ids=["dict", "tuple", "bytes", "object"]
)
def test_its_type_and_place_are_told_instead(given: Any) -> None:
    kind = type(given).__name__
    for act in (jp2batch.read, jp2batch.open, jp2batch.inspect, jp2batch.plan):
        with pytest.raises(InvalidPath, match=f"Path must be text, not {kind}"):
            act(given)


ROWS: dict[str, Any] = {
    "object": json.dumps({"Path": {"token": SECRET}}),
    "list": json.dumps({"Path": [SECRET]}),
    "no object": json.dumps([[SECRET]]),
    "text of no path": json.dumps({"token": SECRET}),
    "level": json.dumps({"Path": "a.jp2", "rlevel": SECRET}),
    "level as object": json.dumps({"Path": "a.jp2", "rlevel": {"x": SECRET}}),
    "window": json.dumps({"Path": "a.jp2", "window": SECRET}),
    "window as list": json.dumps({"Path": "a.jp2", "window": [SECRET, 1]}),
    "id": json.dumps({"Path": "a.jp2", "id": [SECRET]}),
    "name twice": f'{{"Path": "a.jp2", "{SECRET}": 1, "{SECRET}": 2}}',
    "broken JSON": f'{{"Path": "a.jp2", "token": "{SECRET}',
    "broken JSON after it": f'{{"Path": "a.jp2", "token": "{SECRET}"}} {SECRET}',
    "constant": f'{{"Path": "a.jp2", "{SECRET}": NaN}}',
    "half a character": f'{{"Path": "a.jp2", "token": "{SECRET}\\ud800"}}',
    "huge number": f'{{"Path": "a.jp2", "{SECRET}": 1{"0" * 30}}}',
    "signed": json.dumps({"Path": SIGNED, "rlevel": 99}),
    "control character": json.dumps({"Path": f"https://me:{SECRET}@127.0.0.1:9/a\n.jp2?sig={SECRET}"}),
    "good": json.dumps({"Path": "a.jp2", "token": SECRET, "deep": {"token": [SECRET]}}),
    "CSV, quotes": f'Path,token\na.jp2,"{SECRET}\n',
    "CSV, column twice": f"Path,{SECRET},{SECRET}\na.jp2,1,2\n",
    "CSV, level": f"Path,rlevel\na.jp2,{SECRET}\n",
    "CSV, window": f"Path,window\na.jp2,{SECRET}\n",
    "CSV, too many cells": f"Path,rlevel\na.jp2,1,{SECRET}\n",
    "CSV, two of one id": f"Path,id\na.jp2,{SECRET}\nb.jp2,{SECRET}\n",
    "CSV, no path": f"rlevel,token\n1,{SECRET}\n",
    "CSV, signed": f"Path,rlevel\n{SIGNED},99\n",
    "signed links": f"{SIGNED}\n\0",
    "no text": b"\xff\xfe" + SECRET.encode(),
    "not UTF-8": f"https://me:{SECRET}@127.0.0.1:9/a.jp2?{SECRET}\n".encode() + b"\xff.jp2\n",
    "Parquet": b"PAR1" + SECRET.encode(),
    "gzip": b"\x1f\x8b" + SECRET.encode(),
    "JSON array": f'["a.jp2", {{"Path": {{"token": "{SECRET}"}}}}, {SECRET}]',
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_no_row_of_a_manifest_is_told(row: str | bytes, tmp_path: Path) -> None:
    data = row.encode() if isinstance(row, str) else row
    path = tmp_path / "manifest.ndjson"
    path.write_bytes(data)
    for act in (lambda: list(manifest_of([data]).requests()), lambda: jp2batch.read_manifest(path, root="s3://bucket")):
        try:
            verify_no_secret(repr(act()))
        except Jp2BatchError as error:
            verify_no_secret(*texts_of(error), *getattr(error, "rows", ()))
    for command in (
        ["plan"],
        ["run", "-o", str(tmp_path / "out.ndjson"), "--local-threads"],
        ["index", "-o", str(tmp_path / "i.parquet")],
    ):
        done = CliRunner().invoke(main, [command[0], str(path), *command[1:]])
        verify_no_secret(done.output, done.stderr)


def test_the_type_and_the_line_of_a_row_are_told() -> None:
    data = f'{{"Path": "a"}}\n{{"Path": "b"}}\n{{"Path": {{"token": "{SECRET}"}}}}'.encode()
    with pytest.raises(Jp2BatchError, match="line 3: Path must be text, not dict"):
        list(manifest_of([data]).requests())


COMMANDS = [
    "info {given}",
    "info a.jp2 {given}",
    "info a.jp2 --storage-options {given}",
    "info s3://bucket/a.jp2 --storage-options @{given}",
    "info a.jp2 --region {given}",
    "plan {given}",
    "plan {given} --rlevel 99",
    "plan {given} --window x",
    "plan a.jp2 --rlevel {given}",
    "plan a.jp2 --rlevel={given}",
    "plan a.jp2 --window {given}",
    "plan a.jp2 --latency {given}",
    "plan a.jp2 --bandwidth {given}",
    "plan a.jp2 --connections {given}",
    "plan a.jp2 --root {given}",
    "read {given}",
    "read {given} --rlevel 99",
    "read a.jp2 --rlevel {given}",
    "read a.jp2 --window {given}",
    "read a.jp2 -o {given}",
    "run {given} -o out.ndjson",
    "run a.csv -o {given}",
    "run a.csv -o out/ --format {given}",
    "run a.csv -o out.ndjson --workers {given}",
    "run a.csv -o out.ndjson --records {given}",
    "index {given} -o i.parquet",
    "index a.csv -o {given}",
    "sample scenes --size {given}",
    "manifest nowhere.SAFE {given}",
    "manifest a.SAFE --bands {given}",
    "manifest a.SAFE --metres {given}",
    "manifest a.SAFE --window {given}",
    "manifest a.SAFE -o {given}",
    "doctor {given}",
    "serve --root a=a --root a={given}",
    "serve --root {given}",
    "serve --root . --port {given}",
]
PATHS = [SIGNED, f"s3://AKIA:{SECRET}@bucket/x.jp2", f"nosuch://me:{SECRET}@127.0.0.1:9/a?sig={SECRET}"]
VALUES = [SECRET, f'{{"secret": "{SECRET}"', f'["{SECRET}"]']
OF_PATHS = ("{given}", "-o", "--root", "--records", "@{given}", "a={given}")


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_tells_it(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("Path\nnowhere.jp2\n")
    (tmp_path / "a").mkdir()
    words = command.split()
    place = next(number for number, word in enumerate(words) if "{given}" in word)
    takes_a_path = (words[place] in OF_PATHS and not words[place - 1].startswith("--")) or words[place - 1] in OF_PATHS
    for given in [*PATHS, *([] if takes_a_path else VALUES)]:
        arguments = [word.replace("{given}", given) for word in words]
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code != 0, done.output
        verify_no_secret(done.output, done.stderr, *(texts_of(done.exception) if done.exception else ()))


def test_no_message_of_the_shell_tells_it(tmp_path: Path) -> None:
    for arguments in (["info", "a.jp2", SIGNED], ["plan", "a.jp2", "--rlevel", SECRET], ["read", SIGNED]):
        done = subprocess.run(
            [sys.executable, "-m", "jp2batch", *arguments], cwd=ROOT, capture_output=True, check=False
        )
        assert done.returncode != 0
        verify_no_secret(done.stdout.decode(), done.stderr.decode())


SETTINGS = ["driver", "deadline", "max-result", "threads", "retries", "index", "profiles", "stores", "first-read"]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    "given", [SECRET, {"token": SECRET}, [SECRET], {"shared-options": {"secret": SECRET}, "memory": "x"}]
)
def test_no_error_of_the_configuration_tells_it(setting: str, given: Any) -> None:
    readers = [config.driver, config.deadline, config.max_result, config.threads, config.retry_policy]
    readers += [config.index_settings, config.first_read, lambda: store_costs("s3")]
    errors = []
    with dask.config.set({f"jp2batch.{setting}": given}):
        for reader in readers:
            try:
                reader()
            except Jp2BatchError as error:
                errors.append(error)
        done = CliRunner().invoke(main, ["doctor"]) if setting != "index" else None
    verify_no_secret(*itertools.chain.from_iterable(map(texts_of, errors)), "" if done is None else done.output)


@pytest.mark.parametrize("given", [SECRET, {"token": SECRET}])
def test_no_profile_tells_it(given: Any) -> None:
    with dask.config.set({"jp2batch.stores": {"s3": {"latency": given}}}), pytest.raises(Jp2BatchError) as raised:
        open_source("s3://bucket/a.jp2")
    verify_no_secret(*texts_of(raised.value))


BODIES: dict[str, bytes] = {
    "Path as object": json.dumps({"Path": {"token": SECRET}}).encode(),
    "Path as array": json.dumps({"Path": [SECRET]}).encode(),
    "Path as a signed link": json.dumps({"Path": SIGNED}).encode(),
    "Path with a signature": json.dumps({"Path": f"a.jp2?sig={SECRET}"}).encode(),
    "Path with a control character": json.dumps({"Path": f"{SECRET}\n"}).encode(),
    "rlevel": json.dumps({"Path": "a.jp2", "rlevel": SECRET}).encode(),
    "rlevel as object": json.dumps({"Path": "a.jp2", "rlevel": {"x": SECRET}}).encode(),
    "window": json.dumps({"Path": "a.jp2", "window": SECRET}).encode(),
    "window as array": json.dumps({"Path": "a.jp2", "window": [[SECRET, 1], [2, 3]]}).encode(),
    "window as object": json.dumps({"Path": "a.jp2", "window": {"x": SECRET}}).encode(),
    "root": json.dumps({"Path": "a.jp2", "root": SECRET}).encode(),
    "root as object": json.dumps({"Path": "a.jp2", "root": {"x": SECRET}}).encode(),
    "text": json.dumps(SECRET).encode(),
    "array": json.dumps([SECRET]).encode(),
    "name twice": f'{{"{SECRET}": 1, "{SECRET}": 2}}'.encode(),
    "broken": f'{{"Path": "{SECRET}'.encode(),
    "more": f'{{"Path": "a.jp2"}} {SECRET}'.encode(),
    "not UTF-8": f'{{"Path": "{SECRET}'.encode() + b'\xff"}',
    "half a character": f'{{"Path": "a.jp2", "{SECRET}": "\\ud800{SECRET}"}}'.encode(),
    "constant": f'{{"Path": "a.jp2", "{SECRET}": NaN}}'.encode(),
    "deep": SECRET.encode() + b"[" * 60_000,
    "deep array": b"[" * 30_000 + SECRET.encode(),
    "unknown name": json.dumps({"Path": "a.jp2", SECRET: SECRET, "id": {"x": SECRET}}).encode(),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving("--root", str(tmp_path_factory.mktemp("images")), "--workers", "1") as service:
        yield service


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_no_answer_of_the_service_tells_it(service: Service, body: bytes) -> None:
    roots = {"default": Root("default", "s3://bucket")}
    try:
        _, request = parse_body(body, roots)
    except Jp2BatchError as error:
        verify_no_secret(*texts_of(error))
    else:
        verify_no_secret(repr(request))
    answer = service.ask(body=body)
    assert answer.status >= 400
    verify_no_secret(answer.body.decode(), answer.headers)
    verify_no_secret(service.logged(answer.headers["x-request-id"]), service.text)
