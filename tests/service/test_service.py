"""The service over HTTP: the old one's contract, what is new beside it, and what it says when something is wrong."""

import gzip
import io
import json
import os
import re
import shutil
import signal
import ssl
import stat
import subprocess
import urllib.request
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from support.answers import oracle, verify_contract
from support.images import REAL
from support.processes import children_of
from support.services import ROOT, Service, certificate, serving
from support.waiting import wait_until

MOST_PIXELS = 1_300_000


@pytest.fixture(scope="module")
def root(product, tmp_path_factory) -> Path:
    """Return a folder of images: made ones, real ones where there are any, and what is none."""
    root = tmp_path_factory.mktemp("root")
    for path in product.rglob("*.jp2"):
        shutil.copy(path, root / path.name.split("_", 2)[2])
    (root / "real").mkdir()
    for path in REAL:
        shutil.copy(path, root / "real" / path.name)
    (root / "text.jp2").write_text("no image")
    (root / "cut.jp2").write_bytes((root / "B8A_60m.jp2").read_bytes()[:5000])
    (root / "folder.jp2").mkdir()
    os.mkfifo(root / "pipe.jp2")
    secret = tmp_path_factory.mktemp("outside") / "secret.jp2"
    shutil.copy(root / "B8A_60m.jp2", secret)
    (root / "link.jp2").symlink_to(secret)
    (root / "inner.jp2").symlink_to("B8A_60m.jp2")
    return root


@pytest.fixture(scope="module")
def service(root):
    with serving("--root", str(root), "--max-pixels", str(MOST_PIXELS), "--root", f"other={root / 'real'}") as running:
        yield running


# The contract


@pytest.mark.parametrize(
    "body",
    [
        {"Path": "B8A_60m.jp2", "rlevel": -1},
        {"Path": "B8A_60m.jp2"},
        {"path": "B8A_60m.jp2"},
        {"rlevel": -1, "path": "B8A_60m.jp2", "what": "ever"},
        {"Path": "B8A_60m.jp2", "window": None},
        {"Path": "inner.jp2"},
        {"Path": "./B8A_60m.jp2"},
    ],
)
def test_the_body_may_be_as_it_was(service, root, body):
    whole, highest = oracle(root / "B8A_60m.jp2")
    verify_contract(service.ask(body=body).body, whole.at(highest))


def test_a_window_is_cut_out(service, root):
    whole, _ = oracle(root / "B08_10m.jp2")
    window = ((3, 200), (600, 900))
    answer = service.ask(body={"Path": "B08_10m.jp2", "rlevel": 1, "window": window})
    verify_contract(answer.body, whole.window(1, window))
    assert service.ask(body={"Path": "B08_10m.jp2", "rlevel": 1, "window": "3:200,600:900"}).json["shape"] == [98, 150]


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize("header", [["--header", "Content-Type: application/json"], []])
def test_the_old_readmes_curl_works(service, root, tmp_path, header):
    key = json.loads((ROOT / "deploy" / "sample.json").read_bytes())["Path"]
    target = root / key
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(root / "B8A_60m.jp2", target)
    command = ["curl", "-sS", "-XPOST", "-d", "@sample.json", f"{service.address}/api/jp2", *header]
    done = subprocess.run(command, cwd=ROOT / "deploy", capture_output=True, check=True)
    whole, highest = oracle(root / "B8A_60m.jp2")
    verify_contract(done.stdout, whole.at(highest))


# What is new


def test_other_forms_are_given_when_asked_for(service, root):
    whole, _ = oracle(root / "TCI_60m.jp2")
    expected = np.moveaxis(whole.at(1), 0, 2)
    npy = service.image("TCI_60m.jp2", 1, headers={"Accept": "application/x-npy"})
    assert npy.headers["content-type"] == "application/x-npy"
    np.testing.assert_array_equal(np.load(io.BytesIO(npy.body)), expected)
    png = service.image("TCI_60m.jp2", 1, headers={"Accept": "text/html, image/png;q=0.9, */*;q=0.1"})
    assert png.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(png.body)).size == expected.shape[1::-1]
    assert "Accept" in png.headers["vary"]
    refused = service.image("TCI_60m.jp2", 1, headers={"Accept": "text/html, image/png;q=0"})
    assert (refused.status, refused.detail.split(" (")[0]) == (406, "no media type in Accept can be sent")


def test_answers_are_compressed_when_asked_for(service, root):
    whole, highest = oracle(root / "B8A_60m.jp2")
    answer = service.image("B8A_60m.jp2", headers={"Accept-Encoding": "br, gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    verify_contract(gzip.decompress(answer.body), whole.at(highest))
    assert "content-encoding" not in service.image("B8A_60m.jp2", headers={"Accept-Encoding": "gzip;q=0"}).headers
    both = {"Accept-Encoding": "gzip", "Accept": "image/png"}
    assert "content-encoding" not in service.image("B8A_60m.jp2", headers=both).headers


def test_headers_tell_what_the_body_must_not(service, root):
    answer = service.image("TCI_60m.jp2", headers={"X-Request-ID": "a-good.id:1"})
    assert answer.headers["jp2-shape"] == ", ".join(map(str, answer.json["shape"]))
    assert int(answer.headers["jp2-file-size"]) == (root / "TCI_60m.jp2").stat().st_size
    assert 0 < int(answer.headers["jp2-bytes-read"]) <= int(answer.headers["jp2-file-size"])
    assert re.fullmatch(r"download;dur=[\d.]+, processing;dur=[\d.]+", answer.headers["server-timing"])
    assert answer.headers["x-request-id"] == "a-good.id:1"
    assert service.image("TCI_60m.jp2", headers={"X-Request-ID": "<bad>"}).headers["x-request-id"] != "<bad>"
    assert service.image("TCI_60m.jp2", headers={"X-Request-ID": "\xe4"}).headers["x-request-id"].isascii()
    assert "tornado" not in json.dumps(answer.headers).lower()


def test_each_request_has_a_line_in_the_log(service):
    answer = service.image("B8A_60m.jp2", headers={"X-Request-ID": "good"})
    line = service.logged("good")
    assert line["status"] == 200
    assert line["Path"] == "B8A_60m.jp2"
    assert line["bytes_sent"] == len(answer.body)
    assert line["bytes_read"] == int(answer.headers["jp2-bytes-read"])
    assert line["seconds"] >= line["time_download"] + line["time_processing"] > 0
    failed = service.image("nothing.jp2")
    line = service.logged(failed.json["request_id"])
    assert (line["status"], line["error"]) == (404, "ImageNotFound")


def test_its_neighbours_answer(service):
    assert service.ask("/healthz").json == {"status": "ok"}
    assert service.ask("/readyz").json == {"status": "ok"}
    page = service.ask("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    head = service.ask("/", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == page.headers["content-length"]
    assert service.logged(head.headers["x-request-id"])["bytes_sent"] == 0
    assert service.ask("/", headers={"If-None-Match": "*"}).status == 200
    assert service.ask("/openapi.json").json["openapi"].startswith("3.1")


def test_metrics_count(service):
    before = service.metric("jp2batch_fetched_bytes_total"), service.metric("jp2batch_decode_seconds_count")
    read = int(service.image("B8A_60m.jp2").headers["jp2-bytes-read"])
    service.image("nothing.jp2")
    text = service.ask("/metrics").body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert service.metric("jp2batch_fetched_bytes_total") == before[0] + read
    assert service.metric("jp2batch_decode_seconds_count") == before[1] + 1
    statuses = {(s.labels["route"], s.labels["status"]) for s in families["jp2batch_requests"].samples}
    assert {("image", "200"), ("image", "404")} <= statuses
    assert service.metric("jp2batch_workers") > 0
    assert {"jp2batch_queue_length", "jp2batch_requests_in_flight", "jp2batch_request_seconds"} <= families.keys()


# What is wrong


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"Path": "nothing.jp2"}, 404, "no such file"),
        ({"Path": "folder.jp2"}, 404, "folder"),
        ({"Path": "pipe.jp2"}, 404, "a pipe or a device"),
        ({"Path": "text.jp2"}, 422, "JPEG 2000"),
        ({"Path": "cut.jp2", "rlevel": 0}, 422, "cut short"),
        ({"Path": "B8A_60m.jp2", "rlevel": 9}, 422, "rlevel 9"),
        ({"Path": "B8A_60m.jp2", "rlevel": "full"}, 422, "rlevel"),
        ({"Path": "B8A_60m.jp2", "window": "0:1,0:99999"}, 422, "window"),
        ({"Path": "B8A_60m.jp2", "window": "everything"}, 422, "window"),
        ({"rlevel": 1}, 400, "no Path"),
        ([], 400, "not a JSON object"),
        ({"Path": "link.jp2"}, 403, "symbolic link"),
        ({"Path": "B8A_60m.jp2", "root": "third"}, 403, "unknown root"),
    ],
)
def test_what_is_wrong_is_said(service, root, body, status, text):
    answer = service.ask(body=body)
    assert answer.status == status
    assert text in answer.detail
    assert str(root) not in answer.body.decode()


def test_too_many_pixels_come_with_what_would_fit(service, root):
    answer = service.image("TCI_10m.jp2", 0)
    assert answer.status == 413
    assert "rlevel 1 gives 549 x 549 x 3" in answer.detail
    assert answer.json["rlevel"] == 1
    assert service.image("TCI_10m.jp2", answer.json["rlevel"]).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/api/jp2/batch", 405, "POST, OPTIONS"),
        ("PUT", "/api/jp2", 405, "GET, POST, OPTIONS"),
        ("BREW", "/api/jp2", 405, "GET, POST, OPTIONS"),
        ("POST", "/healthz", 405, "GET, HEAD, OPTIONS"),
        ("GET", "/nothing", 404, None),
        ("POST", "/api/jp2/", 404, None),
    ],
)
def test_other_methods_and_addresses_are_told_apart(service, method, path, status, allowed):
    answer = service.ask(path, method=method, body=b"{}" if method != "GET" else None)
    assert answer.status == status
    assert answer.detail
    assert answer.headers.get("allow") == allowed


@pytest.mark.skipif(not REAL, reason="no real images beside the repository")
def test_a_second_root_has_a_name(service, root):
    (path,) = (root / "real").glob("*_B8A_60m.jp2")
    assert service.ask(body={"Path": path.name, "root": "other"}).json["shape"] == [115, 115]
    assert service.ask(body={"Path": path.name}).status == 404


def test_pages_of_other_sites_may_ask_only_if_listed(root):
    options = ["--root", str(root), "--workers", "1", "--cors-origin", "https://good.example"]
    with serving(*options) as service:
        good = service.ask(method="OPTIONS", headers={"Origin": "https://good.example"})
        assert good.status == 204
        assert good.headers["access-control-allow-origin"] == "https://good.example"
        assert "POST" in good.headers["access-control-allow-methods"]
        assert "access-control-allow-origin" not in service.ask(headers={"Origin": "https://bad.example"}).headers
        answer = service.image("B8A_60m.jp2", headers={"Origin": "https://good.example"})
        assert "Jp2-Shape" in answer.headers["access-control-expose-headers"]
        assert "Origin" in answer.headers["vary"]


def test_tokens_keep_others_out(root, tmp_path):
    (tmp_path / "tokens").write_text("# ours\n" + "a" * 32 + "  # for Ada\n")
    options = ["--root", str(root), "--workers", "1", "--token-file", str(tmp_path / "tokens")]
    with serving(*options, env={"JP2BATCH_TOKENS": "b" * 32}) as service:
        for authorization in ("", "Bearer " + "c" * 32, "Basic " + "a" * 32, "Bearer"):
            answer = service.image("B8A_60m.jp2", headers={"Authorization": authorization})
            assert answer.status == 401
            assert answer.detail
            assert answer.headers["www-authenticate"].startswith("Bearer")
        for token in ("a" * 32, "b" * 32):
            assert service.image("B8A_60m.jp2", headers={"Authorization": f"bearer {token}"}).status == 200
        assert service.ask("/healthz").status == 200
        (tmp_path / "tokens").write_text("c" * 32)
        reload(service, "reloaded")
        answers = [service.image("B8A_60m.jp2", headers={"Authorization": f"Bearer {token * 32}"}) for token in "abc"]
        assert [answer.status for answer in answers] == [401, 200, 200]
        (tmp_path / "tokens").write_text("short")
        reload(service, "reload")
        assert service.image("B8A_60m.jp2", headers={"Authorization": "Bearer " + "c" * 32}).status == 200
        assert "a" * 32 not in json.dumps(service.lines)


def reload(service: Service, message: str) -> None:
    """Send SIGHUP, and wait for its line in the log."""
    count = sum(line["message"] == message for line in service.lines)
    service.process.send_signal(signal.SIGHUP)
    wait_until(lambda: sum(line["message"] == message for line in service.lines) > count)


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--root", "no-such-folder"], 3, "no such folder"),
        (["--root", ".", "--root", "."], 3, "a second root has the same name"),
        (["--root", ".", "--certfile", "no-such-file"], 3, "--certfile"),
        (["--root", "warez://bucket"], 3, "warez:// is not a known protocol"),
        (["--root", "https://example.org/images?key=1"], 3, "a root cannot contain"),
        (["--root", ".", "--scheduler", "nonsense://host"], 3, "check --scheduler"),
        (["--root", ".", "--keyfile", "no-such-file"], 2, "--certfile"),
        (["--root", ".", "--token-file", "no-such-file"], 3, "cannot be read"),
        (["--root", ".", "--address", "203.0.113.1"], 3, "cannot listen"),
        (["--root", ".", "--endpoint-url", "http://host"], 2, "--endpoint-url does not apply"),
        (["--root", "archive=dropbox://images", "--workers", "1"], 3, "reading dropbox:// needs the package"),
        ([], 2, "--root"),
    ],
)
def test_what_cannot_start_says_why(options, code, text):
    with serving(*options, ready=False) as service:
        assert service.process.wait(60) == code
    written = "".join(service.text)
    assert text in written
    assert "Traceback" not in written
    assert "cannot be used" not in written  # of a worker whose start was cancelled


def test_an_encrypted_key_is_refused_and_asks_nobody(tmp_path):
    files = certificate(tmp_path, "-passout", "pass:secret")
    with serving("--root", ".", *files, ready=False) as service:
        assert service.process.wait(60) == 3
    assert "cannot load the certificate" in "".join(service.text)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(root, tmp_path, number):
    socket = tmp_path / "s"
    with serving("--root", str(root), "--workers", "1", "--unix-socket", str(socket), ready=False) as service:
        service.wait_until_listening()
        assert stat.S_IMODE(socket.stat().st_mode) == 0o660
        children = children_of(service.process.pid)
        assert service.stop(number) == 0
        assert not socket.exists()
        assert not psutil.wait_procs(children, timeout=10)[1]


@pytest.mark.parametrize(("again", "code"), [(False, 0), (True, -signal.SIGTERM)], ids=["once", "again"])
def test_a_signal_before_it_listens_leaves_nothing_behind(root, again, code):
    with serving("--root", str(root), "--workers", "1", ready=False) as service:
        wait_until(lambda: children_of(service.process.pid))
        children = children_of(service.process.pid)
        service.process.terminate()
        if again:
            wait_until(lambda: service.process.poll() or service.process.terminate())
        assert service.process.wait(40) == code
        assert not psutil.wait_procs(children, timeout=10)[1]


def test_a_scheduler_of_ones_own_may_do_the_work(root):
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0") as cluster,
        serving("--root", str(root), "--scheduler", cluster.scheduler_address) as service,
    ):
        whole, highest = oracle(root / "B8A_60m.jp2")
        verify_contract(service.image("B8A_60m.jp2").body, whole.at(highest))
        assert service.workers == []


def test_it_speaks_tls(root, tmp_path):
    files = certificate(tmp_path)
    with serving("--root", str(root), "--workers", "1", *files, ready=False) as service:
        service.wait_until_listening()
        assert service.address.startswith("https://")
        answer = https(service, tmp_path / "cert.pem")
        assert answer == {"status": "ok"}
        old = (tmp_path / "cert.pem").rename(tmp_path / "old.pem")
        certificate(tmp_path)
        reload(service, "reloaded")
        assert https(service, tmp_path / "cert.pem") == {"status": "ok"}
        with pytest.raises(urllib.error.URLError, match="certificate"):
            https(service, old)


def https(service: Service, certificate: Path) -> object:
    context = ssl.create_default_context(cafile=str(certificate))
    with urllib.request.urlopen(f"https://localhost:{service.port}/healthz", context=context, timeout=10) as answer:
        return json.load(answer)
