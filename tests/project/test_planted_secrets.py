"""A secret in a link, however written and wherever given, is shown nowhere, on clusters and their pages too."""

import contextlib
import logging
import re
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
import pytest
import xarray as xr
from click.testing import CliRunner
from distributed import Client, LocalCluster

import jp2batch
from jp2batch.batch.build_index import build_index
from jp2batch.cli import main
from support.planted import KEY, LINKS, SECRET, planted_in, printed_of
from support.servers import range_server

BAND = "T29UNU_20221005T115411_B04_10m.jp2"
NAME = "T29UNU_20260102T110431_B8A_60m.jp2"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no store be there, and nothing be tried twice."""
    names = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_EC2_METADATA_DISABLED": "true"}
    for name, value in (names | {"AZURE_STORAGE_ACCOUNT_NAME": "account"}).items():
        monkeypatch.setenv(name, value)
    with dask.config.set({"jp2batch.retries.attempts": 1}):
        yield


def item_with(link: str) -> dict[str, Any]:
    """Return a STAC item with a link."""
    asset = {"href": link, "type": "image/jp2", "title": "B04"}
    return {"type": "Feature", "stac_version": "1.0.0", "id": "x", "properties": {}, "assets": {"B04": asset}}


def shared_index(link: str) -> object:
    with dask.config.set({"jp2batch.index.enabled": True, "jp2batch.index.shared": link}):
        return jp2batch.read("nowhere.jp2", 0)


def at_the_endpoint(link: str) -> object:
    return jp2batch.read("s3://bucket/a.jp2", 0, storage_options={"endpoint_url": link, "anon": True})


def in_azure(**options: object) -> object:
    return jp2batch.read("az://container/a.jp2", 0, storage_options=options)


FUNCTIONS: dict[str, Callable[[str], object]] = {
    "read": jp2batch.read,
    "read, Path": lambda link: jp2batch.read(Path(link)),
    "read, bytes": lambda link: jp2batch.read(link.encode("utf-8", "replace")),  # type: ignore[arg-type]
    "read, item": lambda link: jp2batch.read(item_with(link)),  # type: ignore[arg-type]
    "read, rlevel": lambda link: jp2batch.read("nowhere.jp2", link),  # type: ignore[arg-type]
    "read, window": lambda link: jp2batch.read("nowhere.jp2", 0, link),
    "read, root": lambda link: jp2batch.read("nowhere.jp2", root=link),
    "read, bbox": lambda link: jp2batch.read("nowhere.jp2", bbox=link),  # type: ignore[call-arg]
    "read, scaled": lambda link: jp2batch.read(link, scaled=True),
    "open": jp2batch.open,
    "open, chunks": lambda link: jp2batch.open("nowhere.jp2", chunks=link),
    "engine": lambda link: xr.open_dataset(link, engine="jp2batch"),
    "inspect": jp2batch.inspect,
    "plan": jp2batch.plan,
    "respond": lambda link: jp2batch.respond({"Path": link}),
    "respond, item": lambda link: jp2batch.respond(item_with(link)),
    "Request": jp2batch.Request,
    "Request, root": lambda link: jp2batch.Request("a.jp2", root=link),
    "Request, id": lambda link: jp2batch.Request("a.jp2", id=link),
    "Request, below": lambda link: jp2batch.Request(link, root="s3://bucket"),
    "Request, below a server": lambda link: jp2batch.Request(link, root="https://127.0.0.1:9/x"),
    "read_manifest": jp2batch.read_manifest,
    "iter_manifest": lambda link: list(jp2batch.iter_manifest(link)),
    "list_requests": jp2batch.list_requests,
    "list_requests, items": lambda link: jp2batch.list_requests([item_with(link)], ["B04"]),
    "open_product": jp2batch.open_product,
    "open_product, bands": lambda link: jp2batch.open_product("nowhere.SAFE", link),
    "open_cube": lambda link: jp2batch.open_cube([link]),
    "open_cube, items": lambda link: jp2batch.open_cube([item_with(link)]),  # type: ignore[list-item]
    "open_cube, bands": lambda link: jp2batch.open_cube([BAND], bands=link),
    "run": lambda link: jp2batch.run([link], progress=False),
    "run, client": lambda link: jp2batch.run(["nowhere.jp2"], link, progress=False),
    "run, output": lambda link: jp2batch.run(["nowhere.jp2"], output=link, progress=False),  # type: ignore[arg-type]
    "run_to": lambda link: jp2batch.run_to([link], "output/", overwrite=True, progress=False),
    "run_to, output": lambda link: jp2batch.run_to(["nowhere.jp2"], link, progress=False),
    "as_completed": lambda link: next(iter(jp2batch.as_completed([link]))),
    "to_delayed": lambda link: jp2batch.to_delayed([link])[0].key,
    "build_index": lambda link: build_index([jp2batch.Request(link)], "index.parquet"),
    "shared index": shared_index,
    "endpoint_url": at_the_endpoint,
    "connection_string": lambda link: in_azure(connection_string=link),
    "sas_token": lambda link: in_azure(account_name="account", sas_token=link, account_host="127.0.0.1:9"),
    "account_name": lambda link: in_azure(account_name=link, anon=True),
    "storage_options": lambda link: jp2batch.read("s3://bucket/a.jp2", storage_options=link),  # type: ignore[arg-type]
    "headers": lambda link: jp2batch.read("http://127.0.0.1:9/a", storage_options={"headers": {"Authorization": link}}),
    "sign": lambda link: jp2batch.read("http://127.0.0.1:9/a", storage_options={"sign": lambda _: link}),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:Unclosed:ResourceWarning")
@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_function_shows_a_secret(
    function: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO)
    shown = {}
    for name, link in LINKS.items():
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            texts = list(printed_by(lambda link=link: FUNCTIONS[function](link)))  # type: ignore[misc]
        if found := planted_in(*texts, *(one.message for one in warned)):
            shown[name] = found
    printed = capfd.readouterr()
    assert shown == {}
    assert planted_in(caplog.text, printed.out, printed.err, *contents(tmp_path)) == ""


def printed_by(act: Callable[[], object]) -> Iterator[str]:
    """Iterate over whatever may be printed of a call."""
    try:
        answer = act()
    except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  # whatever it is
        yield from printed_of(error)
        return
    yield from (repr(answer), str(answer), str(getattr(answer, "_repr_html_", str)()))
    for result in [answer, *getattr(answer, "results", ())]:
        if isinstance(result, jp2batch.Result):
            yield from (repr(result), str(result.record()), *(printed_of(result.error) if result.error else ()))


def contents(folder: Path) -> Iterator[str]:
    """Iterate over names and contents of files."""
    for path in folder.rglob("*"):
        yield path.name
        if path.is_file():
            yield path.read_bytes().decode("latin1")


# Commands

COMMANDS = [
    "info {}",
    "plan {}",
    "plan {} --rlevel 99",
    "plan nowhere.jp2 --rlevel {}",
    "plan nowhere.jp2 --window {}",
    "plan nowhere.jp2 --root {}",
    "read {}",
    "read nowhere.jp2 -o {}",
    "run {} -o out.ndjson --local-threads",
    "run a.csv -o {} --local-threads",
    "run a.csv -o out.ndjson --scheduler {}",
    "run a.csv -o out.ndjson --local-threads --records {}",
    "index {} -o i.parquet",
    "index a.csv -o {}",
    "manifest {}",
    "manifest nowhere.SAFE --bands {}",
    "manifest a.json -o {}",
    "doctor {}",
    "doctor --scheduler {}",
    "info s3://bucket/a.jp2 --endpoint-url {}",
    "info s3://bucket/a.jp2 --storage-options {}",
]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:Unclosed:ResourceWarning")
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_shows_a_secret(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("Path\nnowhere.jp2\n")
    Path("a.json").write_text("{}")
    shown = {}
    for name, link in LINKS.items():
        words = [link if word == "{}" else word for word in command.split()]
        done = CliRunner().invoke(main, words)
        if done.exit_code == 0 and command == "manifest {}":
            continue  # a manifest names what is to be read
        texts = [done.output, done.stderr, *(printed_of(done.exception) if done.exception else ())]
        if found := planted_in(*texts):
            shown[name] = found
    assert shown == {}


# Clusters


@dataclass
class Shown:
    """Whatever a cluster has shown."""

    calls: int = 0
    pages: dict[str, str] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, *texts: object) -> None:
        """Add texts."""
        self.texts.setdefault(kind, []).extend(map(str, texts))


def failing(link: str) -> str:
    raise RuntimeError(f"{link} {SECRET}")


OPTIONS: dict[str, Any] = {
    "none": None,
    "headers": {"headers": {"Authorization": f"Bearer {KEY}"}},
    "by protocol": {"http": {"headers": {"Authorization": f"Bearer {KEY}"}}, "s3": {"key": KEY, "secret": SECRET}},
    "nested": {"client_kwargs": {"headers": {"Authorization": KEY}}, "other": object()},
    "odd": {"client_kwargs": {"auth": SECRET}},
    "text": SECRET,
    "a failing signer": {"sign": failing},
    "a wrong signer": {"sign": lambda _: {"href": SECRET}},
    "no signer": {"sign": SECRET},
}


def calls_on(client: Client, link: str, options: Any, folder: Path) -> Iterator[Callable[[], object]]:
    """Iterate over calls that use a cluster."""
    requests = [jp2batch.Request(link, 0)]
    more: dict[str, Any] = {"client": client, "storage_options": options}
    yield lambda: jp2batch.run(requests, progress=False, **more)
    yield lambda: jp2batch.run(requests, progress=False, on_error="raise", **more)
    yield lambda: list(jp2batch.as_completed(requests, **more))
    yield lambda: jp2batch.run_to(requests, f"{folder}/output/", overwrite=True, progress=False, **more)
    yield lambda: build_index(requests, str(folder / "index.parquet"), **more)
    yield lambda: jp2batch.open_cube([link], **more)
    yield lambda: client.compute(jp2batch.to_delayed(requests, storage_options=options)).result()
    yield lambda: client.compute(jp2batch.to_delayed(requests, storage_options=options)[0]).result()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, image_of: Callable[[str], str]) -> Shown:
    """Whatever a cluster shows after many failing calls."""
    folder, shown = tmp_path_factory.mktemp("cluster"), Shown()
    settings = {"jp2batch.retries.attempts": 1, "jp2batch.index.enabled": True, "jp2batch.index.folder": str(folder)}
    logging.getLogger("distributed").setLevel(logging.INFO)
    with (
        range_server() as server,
        dask.config.set(settings),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        server.files[NAME] = Path(image_of("B8A_60m")).read_bytes()
        signed = f"{server.url(NAME)}?X-Amz-Signature={SECRET}"
        lazy = [jp2batch.open(signed, storage_options=OPTIONS["headers"]), jp2batch.open_cube([signed])]
        shown.add("reprs", *map(repr, lazy), *(one._repr_html_() for one in lazy))
        shown.add("graphs", *(f"{one.__dask_graph__()} {list(one.__dask_keys__())}" for one in lazy))
        server.fault, server.refusal = 403, f"<Error><Message>{SECRET}</Message></Error>".encode()
        links = [f"{server.url('b.jp2')}?X-Amz-Signature={SECRET}", f"zip://x.jp2::{server.url('c.zip')}?sig={SECRET}"]
        with contextlib.redirect_stderr(None):
            for number, options in enumerate(OPTIONS.values()):
                for call in calls_on(client, links[number % 2], options, folder):
                    shown.calls += 1
                    shown.add("calls", *printed_by(call))
        futures = [client.compute(one) for one in lazy] + client.compute(jp2batch.to_delayed(links))
        shown.calls += len(futures)
        shown.add("futures", *(text for future in futures for text in printed_by(future.result)))
        shown.add("futures", *map(repr, futures))
        add_cluster(shown, client, cluster.dashboard_link.removesuffix("/status"))
    shown.add("files", *contents(folder))
    return shown


def add_cluster(shown: Shown, client: Client, address: str) -> None:
    """Add keys, logs, events and pages of a cluster."""
    shown.add("tasks", *client.run_on_scheduler(_tasks), *client.run(_tasks_of_worker).values())
    shown.add("logs", client.get_scheduler_logs(10**6), client.get_worker_logs(10**6))
    shown.add("logs", client.get_worker_logs(10**6, nanny=True))
    shown.add("events", client.get_events(), client.story())
    waiting = ["/status", "/info/main/workers.html", "/info/logs.html", "/json/counts.json", "/metrics", "/tasks"]
    while waiting and len(shown.pages) < 100:
        page = waiting.pop()
        if page in shown.pages or "static" in page:
            continue
        try:
            with urllib.request.urlopen(f"{address}{page}", timeout=10) as reply:
                shown.pages[page] = reply.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            shown.pages[page] = error.read().decode(errors="replace")
        links = re.findall(r'href="([^"]+)"', shown.pages[page])
        found = [urllib.request.urljoin(f"{address}{page}", link) for link in links]  # type: ignore[attr-defined]
        waiting += [link.removeprefix(address) for link in found if link.startswith(address)]


def _tasks(dask_scheduler: Any) -> list[str]:
    return [
        f"{key} {task!r} {task.group_key} {task.exception_text} {task.traceback_text} {task.run_spec!r}"
        for key, task in dask_scheduler.tasks.items()
    ]


def _tasks_of_worker(dask_worker: Any) -> str:
    return f"{[(key, repr(task), repr(task.run_spec)) for key, task in dask_worker.state.tasks.items()]}"


@pytest.mark.parametrize("kind", ["reprs", "graphs", "calls", "futures", "tasks", "logs", "events", "files"])
def test_no_text_of_a_cluster_shows_a_secret(shown: Shown, kind: str) -> None:
    assert shown.calls > 70
    assert shown.texts[kind]
    assert planted_in(*shown.texts[kind]) == ""


def test_no_page_of_a_dashboard_shows_a_secret(shown: Shown) -> None:
    assert len(shown.pages) > 20
    for page, text in shown.pages.items():
        assert planted_in(page, text) == ""


def test_the_search_finds_what_is_planted() -> None:
    for link in LINKS.values():
        assert planted_in(link)
    assert planted_in(f"a&#x3D;{SECRET}", "b")
    assert planted_in(*printed_of(ValueError(KEY)))
