"""Links signed for GET only, in batches, on workers, by commands and by the service: first and known images."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from click.testing import CliRunner
from distributed import Client, LocalCluster
from numpy.typing import NDArray

import jp2batch
from jp2batch.batch.build_index import build_index
from jp2batch.batch.manifest.write import format_manifest
from jp2batch.cli import main
from support.servers import RangeServer
from support.services import Service, serving
from support.signers import SIGNATURE

NAME = "T29UNU_20260102T110431_B8A_60m.jp2"
STATUSES = [403, 405, 501]
SELDOM = [403, *(pytest.param(status, marks=pytest.mark.exhaustive) for status in STATUSES[1:])]
"""Statuses where a test takes long."""
SIGNER = {"127.0.0.1": "support.signers:sign"}


@dataclass(frozen=True)
class Link:
    """A signed link, with the values behind it."""

    url: str
    values: NDArray[Any]
    folder: Path

    @property
    def plain(self) -> str:
        """The link without its signature."""
        return self.url.partition("?")[0]


@pytest.fixture(autouse=True)
def memory(tmp_path: Path) -> Iterator[None]:
    """Let images be known from their second read on, and not be read whole."""
    index = {"enabled": True, "folder": str(tmp_path / "index"), "memory": "64 MiB", "disk": "1 GiB", "shared": None}
    settings = {"jp2batch.index": {**index, "shared-options": {}}, "jp2batch.first-read": 2000}
    with dask.config.set({**settings, "jp2batch.max-whole-file": 0}):
        yield


@pytest.fixture
def link(http_server: RangeServer, band: str, tmp_path: Path) -> Link:
    values = jp2batch.read(band, 0).values
    http_server.files[NAME], http_server.signature = Path(band).read_bytes(), SIGNATURE
    return Link(f"{http_server.url(NAME)}?{SIGNATURE}", values, tmp_path)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def verify_gets_only(server: RangeServer) -> None:
    assert "HEAD" not in server.asked
    assert server.paths
    server.asked.clear()
    server.paths.clear()


# Functions


def values_of_a_manifest(link: Link) -> NDArray[Any]:
    requests = jp2batch.read_manifest(link.url)
    assert [request.path for request in requests] == [link.url]
    return link.values


def values_of_a_product(link: Link) -> NDArray[Any]:
    url, _, query = link.url.partition("?")
    tree = jp2batch.open_product(f"{url.replace(NAME, 'S2.zip')}?{query}", ["B8A"])
    (array,) = (array for node in tree.subtree for array in node.data_vars.values())
    return array.values


def values_of_a_report(link: Link) -> NDArray[Any]:
    output = link.folder / "output"
    jp2batch.run_to([jp2batch.Request(link.url, 0)], f"{output}/", overwrite=True, progress=False)
    return np.load(next(output.glob("*.npy")))


def item_with(link: Link) -> dict[str, Any]:
    """Return a STAC item with the link."""
    assets = {"B8A_60m": {"href": link.url, "type": "image/jp2"}}
    return {"type": "Feature", "stac_version": "1.0.0", "id": NAME, "properties": {}, "assets": assets}


def values_of_an_item(link: Link) -> NDArray[Any]:
    (link.folder / "item.json").write_text(json.dumps(item_with(link)))
    (request,) = jp2batch.list_requests([str(link.folder / "item.json")])
    return jp2batch.open_cube([request.path], 0).values[0, 0]


def values_by_an_index(link: Link) -> NDArray[Any]:
    table = str(link.folder / "index.parquet")
    assert build_index([jp2batch.Request(link.url)], table).learned == 1
    assert SIGNATURE.encode() not in Path(table).read_bytes()
    with dask.config.set({"jp2batch.index.shared": table}):
        return jp2batch.read(link.url, 0).values


def preview_size(link: Link) -> NDArray[Any]:
    assert jp2batch.open(link.url).jp2.preview().size
    return link.values


FUNCTIONS: dict[str, Callable[[Link], NDArray[Any]]] = {
    "to_delayed": lambda link: jp2batch.to_delayed([jp2batch.Request(link.url, 0)])[0].compute(scheduler="sync").values,
    "as_completed": lambda link: next(iter(jp2batch.as_completed([jp2batch.Request(link.url, 0)]))).value.values,
    "run, responses": lambda link: np.array(
        jp2batch.run([jp2batch.Request(link.url, 0)], output="response", progress=False).results[0].value["img_data"]
    ),
    "run_to": values_of_a_report,
    "read_manifest": values_of_a_manifest,
    "iter_manifest": lambda link: link.values if next(iter(jp2batch.iter_manifest(link.url))).path else link.values[:0],
    "open_product": values_of_a_product,
    "list_requests": lambda link: jp2batch.read(jp2batch.list_requests([link.url])[0].path, 0).values,
    "list_requests, item": values_of_an_item,
    "build_index": values_by_an_index,
    "preview": preview_size,
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_read_a_signed_link(http_server: RangeServer, link: Link, function: str, status: int) -> None:
    http_server.head = status
    if function.endswith("manifest"):
        http_server.files[NAME] = format_manifest([jp2batch.Request(link.url, 0)], "m.ndjson")
    http_server.files["S2.zip"] = zipped_product(http_server.files[NAME])
    for _ in range(2):
        np.testing.assert_array_equal(FUNCTIONS[function](link), link.values)
        verify_gets_only(http_server)


def zipped_product(image: bytes) -> bytes:
    """Return an archive of a product without metadata."""
    folder = "S2A_MSIL2A_20260102T110431_N0511_R094_T29UNU_20260102T120000.SAFE"
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(f"{folder}/GRANULE/L2A_T29UNU_A1_20260102T110431/IMG_DATA/R60m/{NAME}", image)
    return data.getvalue()


# On a worker


def cluster_keeps_no_signature(client: Client) -> bool:
    """Return whether logs of scheduler and worker, and keys of tasks, are without the signature."""
    texts = [client.get_scheduler_logs(), client.get_worker_logs(), client.story(), client.run_on_scheduler(_keys)]
    return SIGNATURE not in f"{texts}"


def _keys(dask_scheduler: Any) -> list[str]:
    return [str(key) for key in dask_scheduler.tasks]


def values_of_a_cube(link: Link, client: Client) -> NDArray[Any]:
    return client.compute(jp2batch.open_cube([link.url], 0, client=client)).result().values[0, 0]


def values_by_an_index_of_workers(link: Link, client: Client) -> NDArray[Any]:
    assert build_index([jp2batch.Request(link.url)], str(link.folder / "i.parquet"), client=client).learned == 1
    return link.values


def values_of_a_report_of_workers(link: Link, client: Client) -> NDArray[Any]:
    output = link.folder / "output"
    requests = [jp2batch.Request(link.url, 0)]
    jp2batch.run_to(requests, f"{output}/", client=client, overwrite=True, progress=False)
    return np.load(next(output.glob("*.npy")))


ON_WORKERS: dict[str, Callable[[Link, Client], NDArray[Any]]] = {
    "open": lambda link, client: client.compute(jp2batch.open(link.url)).result().values,
    "open_cube": values_of_a_cube,
    "to_delayed": lambda link, client: (
        client.compute(jp2batch.to_delayed([jp2batch.Request(link.url, 0)])[0]).result().values
    ),
    "run": lambda link, client: (
        jp2batch.run([jp2batch.Request(link.url, 0)], client, progress=False).results[0].value.values
    ),
    "as_completed": lambda link, client: (
        next(iter(jp2batch.as_completed([jp2batch.Request(link.url, 0)], client))).value.values
    ),
    "run_to": values_of_a_report_of_workers,
    "build_index": values_by_an_index_of_workers,
    "read": lambda link, client: client.submit(jp2batch.read, link.url, 0, pure=False).result().values,
}


@pytest.mark.parametrize("status", SELDOM)
@pytest.mark.parametrize("function", ON_WORKERS)
def test_workers_read_a_signed_link(
    http_server: RangeServer, link: Link, client: Client, function: str, status: int
) -> None:
    http_server.head = status
    for _ in range(2):
        np.testing.assert_array_equal(ON_WORKERS[function](link, client), link.values)
    verify_gets_only(http_server)
    assert cluster_keeps_no_signature(client)


# Commands

COMMANDS = {
    "run": "run {manifest} -o {folder}/output.ndjson --overwrite --local-threads",
    "run, of a signed manifest": "run {url} -o {folder}/output/ --overwrite --local-threads",
    "run, processes": "run {manifest} -o {folder}/output.zarr --overwrite --workers 1",
    "index": "index {manifest} -o {folder}/index.parquet",
    "manifest": "manifest {url} -o {folder}/new.csv",
    "manifest of an item": "manifest {folder}/item.json -o {folder}/new.csv",
    "plan of a manifest": "plan {manifest}",
    "doctor": "doctor {url}",
}


@pytest.mark.parametrize("status", SELDOM)
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_read_a_signed_link(http_server: RangeServer, link: Link, command: str, status: int) -> None:
    http_server.head = status
    manifest = link.folder / "m.csv"
    manifest.write_text(f"Path,rlevel\n{link.url},0\n")
    (link.folder / "item.json").write_text(json.dumps(item_with(link)))
    if "signed manifest" in command:
        image = link.plain.replace(NAME, "image.jp2")
        http_server.files["image.jp2"] = http_server.files[NAME]
        http_server.files[NAME] = f"Path,rlevel\n{image}?{SIGNATURE},0\n".encode()
    line = COMMANDS[command].format(manifest=manifest, url=link.url, folder=link.folder)
    for _ in range(2):
        done = CliRunner().invoke(main, line.split())
        assert done.exit_code == 0, done.output
        assert SIGNATURE not in done.output
        if not command.startswith("manifest"):  # it reads no image
            verify_gets_only(http_server)
    written = {path.name: path.read_bytes() for path in link.folder.rglob("*") if path.is_file()}
    if command.startswith("manifest"):
        np.testing.assert_array_equal(
            jp2batch.read(jp2batch.read_manifest(f"{link.folder}/new.csv")[0].path, 0), link.values
        )
    holders = {name for name, data in written.items() if SIGNATURE.encode() in data}
    assert holders <= {"m.csv", "new.csv", "item.json"}  # manifests name what is to be read


# The service


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[RangeServer, Service]]:
    from support.servers import range_server

    with range_server() as server:
        server.signature = SIGNATURE
        env = {"DASK_JP2BATCH__SIGNERS": json.dumps(SIGNER), "DASK_JP2BATCH__MAX_WHOLE_FILE": "0"}
        with serving("--root", server.url("root"), "--workers", "1", env=env) as service:
            yield server, service


@pytest.mark.parametrize("status", STATUSES)
def test_the_service_signs_what_is_below_its_root(served: tuple[RangeServer, Service], band: str, status: int) -> None:
    server, service = served
    server.head, server.files[f"root/{status}.jp2"] = status, Path(band).read_bytes()
    for _ in range(2):
        answer = service.ask(body={"Path": f"{status}.jp2", "rlevel": 0})
        assert answer.status == 200, answer.body
        np.testing.assert_array_equal(answer.json["img_data"], jp2batch.read(band, 0).values)
        assert service.ask(f"/api/jp2?path={status}.jp2&rlevel=-1").status == 200
    verify_gets_only(server)
    assert SIGNATURE not in f"{service.lines}{service.text}"
