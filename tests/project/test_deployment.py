"""Deployment as docs/deployment.md tells it: its commands are run, on a machine that is a folder.

In them, `/etc`, `/opt` and so on are folders of that folder, ports are free ones, and the programs that would change
the machine itself are replaced by ones that note what they were asked. nginx, openssl, curl, dask, jp2batch are real.
"""

import asyncio
import configparser
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import click
import pytest
import yaml

import jp2batch
from benchmarks.seaweedfs import free_ports
from jp2batch.cli import main
from jp2batch.cli.serve_command import serve
from jp2batch.core.config import DEFAULTS
from jp2batch.service.dispatcher import Dispatcher
from jp2batch.service.metrics import Metrics
from jp2batch.storage.schemes import scheme_info
from support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
GUIDE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
UNIT = configparser.ConfigParser(strict=False, interpolation=None)
UNIT.optionxform = str  # type: ignore[assignment, method-assign]
UNIT.read(DEPLOY / "jp2batch.service", encoding="utf-8")
SAMPLE = json.loads((DEPLOY / "sample.json").read_text(encoding="utf-8"))

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
NOTED = ("apt-get", "certbot", "journalctl", "pip", "podman", "python3", "systemctl")
"""Programs that would change the machine, or that need what no test can have."""
PLACES = ("/data/images", "/etc/", "/opt/jp2batch", "/run/jp2batch", "/var/cache/jp2batch")
PORTS = {"8080": "localhost:8080", "8081": "localhost:8081", "8443": "localhost:8443", "8786": "127.0.0.1:8786"}
NGINX_CONF = """
daemon off; {user} pid {folder}/nginx.pid; error_log stderr;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    include {folder}/etc/nginx/sites-enabled/*;
}}
"""


def parsed(options: list[str]) -> click.Context:
    """Return what the command makes of options; below its group, since click keeps what a context has once told it."""
    return serve.make_context("serve", options, parent=click.Context(main, **main.context_settings))


def blocks(heading: str) -> list[str]:
    """Return the blocks of commands below a heading."""
    section = GUIDE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@dataclass
class Machine:
    """A folder that the commands take for a machine."""

    folder: Path
    ports: dict[str, int]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def here(self, text: str) -> str:
        """Return a text with the places and ports of this machine."""
        for place in PLACES:
            text = re.sub(rf"(?<![\w/.]){place}", f"{self.folder}{place}", text)
        text = re.sub(r"\b(8080|8081|8443|8786)\b", lambda match: str(self.ports[match[1]]), text)
        return re.sub(r"http://localhost/(?=api|metrics|$)", f"http://localhost:{self.ports['80']}/", text)

    @property
    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(self.folder / "bin"), sysconfig.get_path("scripts"), os.environ["PATH"]])
        return {k: v for k, v in os.environ.items() if not k.startswith("JP2BATCH_")} | {"PATH": path}

    def run(self, commands: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.here(commands)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, f"{commands}\n{done.stderr}"
        return done.stdout

    def start(self, command: str, **settings: str) -> subprocess.Popen[bytes]:
        with (self.folder / "output.txt").open("ab") as output:
            self.started.append(
                subprocess.Popen(
                    shlex.split(self.here(command)),
                    cwd=self.folder,
                    env=self.environment | settings,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            )
        return self.started[-1]

    def start_unit(self) -> subprocess.Popen[bytes]:
        """Do what systemd does to start the unit: its environment, its folders, its command."""
        lines = (self.folder / "etc/jp2batch.env").read_text().splitlines()
        settings = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        service = UNIT["Service"]
        for base, key in (("run", "RuntimeDirectory"), ("var/cache", "CacheDirectory")):
            (self.folder / base / service[key]).mkdir(parents=True, exist_ok=True)
        command = service["ExecStart"].replace("$JP2BATCH_OPTIONS", settings["JP2BATCH_OPTIONS"])
        process = self.start(command, **settings)
        socket = self.folder / "run/jp2batch/jp2batch.sock"
        self.wait_for(f"curl -sf --unix-socket {socket} http://localhost/readyz", process)
        return process

    def wait_for(self, command: str, process: "subprocess.Popen[bytes]") -> None:
        for _ in range(400):
            ask = ["bash", "-c", self.here(command)]
            done = subprocess.run(ask, cwd=self.folder, capture_output=True, check=False, timeout=60)
            if done.returncode == 0:
                return
            assert process.poll() is None, (self.folder / "output.txt").read_text()[-3000:]
            time.sleep(0.1)
        pytest.fail((self.folder / "output.txt").read_text()[-3000:])

    def stop(self, process: "subprocess.Popen[bytes]") -> int:
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout=60)

    def noted(self) -> list[str]:
        """Return what programs were asked since the last time."""
        notes = self.folder / "notes.txt"
        lines = notes.read_text().splitlines() if notes.exists() else []
        notes.unlink(missing_ok=True)
        return lines

    def log(self) -> list[dict[str, object]]:
        """Return the lines that the services logged."""
        lines = (self.folder / "output.txt").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


@contextmanager
def machine_in(folder: Path, image: str) -> Iterator[Machine]:
    machine = Machine(folder, dict(zip(["80", *PORTS], free_ports(1 + len(PORTS)), strict=True)))
    (folder / "bin").mkdir()
    for name in NOTED:
        write_program(folder / "bin" / name, f'echo "{name} $*" >> {folder}/notes.txt')
    write_program(folder / "bin" / "sudo", 'exec "$@"')
    write_program(folder / "bin" / "nginx", f'exec {NGINX} -p {folder} -e stderr -c {folder}/nginx.conf "$@"')
    user = "user root;" if os.geteuid() == 0 else ""  # pytest's folders are its own
    (folder / "nginx.conf").write_text(NGINX_CONF.format(user=user, folder=folder, connections=2048))
    for place in ("etc/systemd/system", "etc/nginx/sites-available", "etc/nginx/sites-enabled", "opt/jp2batch/bin"):
        (folder / place).mkdir(parents=True)
    (folder / "opt/jp2batch/bin/pip").symlink_to(folder / "bin/pip")
    (folder / "opt/jp2batch/bin/jp2batch").symlink_to(Path(sysconfig.get_path("scripts"), "jp2batch"))
    (folder / "deploy").symlink_to(DEPLOY)
    target = folder / "data/images" / SAMPLE["Path"]
    target.parent.mkdir(parents=True)
    shutil.copy(image, target)
    try:
        yield machine
    finally:
        for process in reversed(machine.started):
            process.terminate()
        for process in machine.started:
            end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def write_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def machine(band) -> Iterator[Machine]:
    if not (shutil.which("curl") and shutil.which("openssl")):
        pytest.skip("needs curl and openssl")
    # Not below pytest's folders: the paths of sockets have 107 characters at most.
    with TemporaryDirectory(prefix="jp2batch-") as folder, machine_in(Path(folder), band) as machine:
        yield machine


def check_answer(text: str, band: str) -> None:
    answer = json.loads(text)
    assert list(answer) == ["img_data", "shape", "time_download", "time_processing"]
    assert answer["img_data"] == jp2batch.read(band).values.tolist()


BOX = "11.9,47.8,12.1,48.0"
STORE = "https://storage.googleapis.com"


def install(machine: Machine, endpoint: str) -> None:
    """Do the first section of the guide, up to the start; a server of the same protocol replaces the store."""
    setup, start, _ = blocks("systemd")
    machine.run(setup)
    env = machine.folder / "etc/jp2batch.env"
    assert env.stat().st_mode & 0o777 == 0o600
    assert STORE in env.read_text()
    env.write_text(env.read_text().replace(STORE, f"{endpoint} --workers 1"))
    machine.run(start)
    assert machine.noted() == [
        f"python3 -m venv {machine.folder}/opt/jp2batch",
        "pip install .",
        "systemctl daemon-reload",
        "systemctl enable --now jp2batch",
    ]


def test_to_try_it_one_command_is_enough(machine, band):
    command, sample, get, *_ = re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    process = machine.start(command.strip() + f" --port {machine.ports['8080']} --workers 1")
    machine.wait_for("curl -sf http://localhost:8080/readyz", process)
    check_answer(machine.run(sample), band)
    image = json.loads(machine.run(get.replace("T33UUP_B8A.jp2", SAMPLE["Path"]).replace(BOX, "-8.9,53.1,-8.8,53.2")))
    assert list(image) == ["img_data", "shape"]


@pytest.mark.skipif(NGINX is None, reason="needs nginx")
def test_systemd_and_nginx_and_tokens(machine, band, http_server):
    http_server.files[f"gcp-public-data-sentinel-2/{SAMPLE['Path']}"] = Path(band).read_bytes()
    install(machine, http_server.address)
    service = machine.start_unit()
    assert json.loads(machine.run(blocks("systemd")[2])) == {"status": "ok"}
    assert machine.noted() == ["journalctl --unit jp2batch --output cat"]
    site, sample = blocks("nginx")
    nginx = start_nginx(machine, site)
    check_answer(machine.run(sample), band)
    check_what_nginx_adds(machine)
    verify_a_crowd(machine, 0)

    new, use = blocks("Access")
    machine.run(new)
    assert machine.noted() == ["systemctl restart jp2batch"]
    assert machine.stop(service) == 0
    refused(machine, sample, 503)  # nginx is there, and the service is not
    machine.start_unit()
    refused(machine, sample, 401)
    check_answer(machine.run(use), band)
    assert machine.stop(nginx) == 0


@pytest.mark.exhaustive
@pytest.mark.skipif(NGINX is None, reason="needs nginx")
@pytest.mark.parametrize("limited", [True, False], ids=["limits", "no limits"])
def test_400_connections_for_30_s_get_answers_or_503(machine, band, http_server, limited):
    http_server.files[f"gcp-public-data-sentinel-2/{SAMPLE['Path']}"] = Path(band).read_bytes()
    install(machine, http_server.address)
    service = machine.start_unit()
    nginx = start_nginx(machine, blocks("nginx")[0], limited=limited)
    verify_a_crowd(machine, 30)
    socket = machine.folder / "run/jp2batch/jp2batch.sock"
    assert "jp2batch_free_places 1.0" in machine.run(f"curl -s --unix-socket {socket} http://localhost/metrics")
    assert (machine.stop(nginx), machine.stop(service)) == (0, 0)


def verify_a_crowd(machine: Machine, seconds: float) -> None:
    statuses = asyncio.run(statuses_of_many(machine.ports["80"], 400, seconds))
    assert statuses[200] > 0
    assert statuses.keys() <= {200, 503}


def start_nginx(machine: Machine, site: str, *, limited: bool = True) -> "subprocess.Popen[bytes]":
    commands, test, rest = site.partition("sudo nginx -t")
    machine.run(commands)
    conf = machine.folder / "etc/nginx/sites-available/jp2batch"
    port = machine.ports["80"]
    text = conf.read_text().replace("listen 80;", f"listen 127.0.0.1:{port};").replace("    listen [::]:80;\n", "")
    text = text if limited else re.sub(r"^ *limit_(conn|req) .*$", "", text, flags=re.MULTILINE)
    conf.write_text(machine.here(text))
    machine.run(test + rest)
    assert machine.noted() == ["apt-get install nginx", "systemctl reload nginx"]
    nginx = machine.start(str(machine.folder / "bin/nginx"))
    machine.wait_for(f"curl -sf http://localhost:{port}/readyz", nginx)
    return nginx


async def statuses_of_many(port: int, connections: int, seconds: float) -> Counter[int]:
    """Ask for the sample over many connections for some time, twice over each at least; count the statuses."""
    body = json.dumps(SAMPLE)
    request = f"POST /api/jp2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()

    async def ask() -> list[int]:
        statuses = []
        while len(statuses) < 2 or time.monotonic() < end:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(writer):
                statuses += [await answered(reader, writer), await answered(reader, writer)]
                await asyncio.sleep(0.2 if seconds else 0)
        return statuses

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(re.search(r"content-length: (\d+)", head)[1]))  # type: ignore[index]
        status = int(head.split()[1])
        assert status == 200 or "retry-after: " in head, head
        return status

    end = time.monotonic() + seconds
    answers = await asyncio.gather(*(ask() for _ in range(connections)))
    return Counter(status for statuses in answers for status in statuses)


def refused(machine: Machine, command: str, status: int) -> None:
    assert machine.run(command.replace("curl ", "curl -s -o answer.txt -w '%{http_code}' ", 1)) == str(status)


def check_what_nginx_adds(machine: Machine) -> None:
    """Check: the client's address whatever it says; errors in the service's own words; gzip; metrics only from here."""
    url = f"http://localhost:{machine.ports['80']}"
    spoofed = "-H 'X-Real-IP: 192.0.2.1' -H 'X-Forwarded-For: 192.0.2.1' -H 'X-Request-ID: mine'"
    machine.run(f"curl -s --compressed {spoofed} -d @deploy/sample.json {url}/api/jp2 -D headers.txt -o answer.json")
    assert "content-encoding: gzip" in (machine.folder / "headers.txt").read_text().lower()
    wait_until(lambda: any(line.get("id") == "mine" for line in machine.log()))
    assert {line["remote"] for line in machine.log() if line.get("id") == "mine"} == {"127.0.0.1"}
    for length in (100_000, 2_000_000):  # refused by the service, and by nginx
        (machine.folder / "long.json").write_text(json.dumps({"Path": "x" * length}))
        problem = json.loads(machine.run(f"curl -s -d @long.json {url}/api/jp2 -D headers.txt"))
        assert (problem["status"], problem["type"]) == (413, "urn:jp2batch:problem:body-too-large")
        assert set(problem) == {"type", "title", "status", "detail", "request_id", "retryable"}
        headers = (machine.folder / "headers.txt").read_text().lower()
        assert headers.startswith("http/1.1 413")
        assert "content-type: application/problem+json" in headers
        assert f"x-request-id: {problem['request_id']}" in headers
    assert "jp2batch_workers 1.0" in machine.run(f"curl -sf {url}/metrics")
    assert "<title>jp2batch" in machine.run(f"curl -sf {url}/")


def test_the_service_speaks_tls_itself(machine):
    certbot, make, command, check = blocks("TLS")
    machine.run(certbot)
    assert machine.noted() == [
        "apt-get install certbot python3-certbot-nginx",
        "certbot --nginx --domain images.example.org",
    ]
    machine.run(make)
    process = machine.start(f"{command.strip()} --workers 1")
    machine.wait_for(check, process)
    assert json.loads(machine.run(check)) == {"status": "ok"}
    assert machine.stop(process) == 0


def test_a_cluster_does_the_work(machine, band):
    scheduler, worker, command, ask = blocks("More than one machine")
    machine.start(scheduler)
    machine.start(worker)
    process = machine.start(command)
    machine.wait_for(f"curl -sf http://localhost:{machine.ports['8081']}/readyz", process)
    check_answer(machine.run(ask), band)
    assert machine.stop(process) == 0


def test_systemd_takes_the_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    unit = tmp_path / "jp2batch.service"
    text = (DEPLOY / "jp2batch.service").read_text(encoding="utf-8")
    program = UNIT["Service"]["ExecStart"].split()[0]
    unit.write_text(text.replace(program, shutil.which("true") or ""))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if "jp2batch" in line]
    assert (done.returncode, said) == (0, [])


def test_the_unit_fits_what_it_runs():
    service = UNIT["Service"]
    program, command, *options = service["ExecStart"].replace("$JP2BATCH_OPTIONS", "--root x").split()
    assert (program, command) == ("/opt/jp2batch/bin/jp2batch", "serve")
    values = parsed(options).params
    assert Path(values["unix_socket"]).parent == Path("/run", service["RuntimeDirectory"])
    assert f"server unix:{values['unix_socket']};" in (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    assert int(service["TimeoutStopSec"]) > values["drain"]
    assert int(service["LimitNOFILE"]) > values["max_connections"]


def test_the_unit_is_confined():
    service = UNIT["Service"]
    demanded = {
        "DynamicUser": "yes",
        "NoNewPrivileges": "yes",
        "PrivateUsers": "yes",
        "ProtectProc": "invisible",
        "ProtectSystem": "strict",
        "SystemCallErrorNumber": "EPERM",
        "CapabilityBoundingSet": "",
    }
    assert {name: service.get(name) for name in demanded} == demanded
    text = (DEPLOY / "jp2batch.service").read_text(encoding="utf-8")
    filters = re.findall(r"^SystemCallFilter=(.*)$", text, re.MULTILINE)
    assert filters == ["@system-service", "~@privileged"]
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"


def test_the_image_of_the_container_has_no_root_no_latest_and_no_secrets():
    lines = (DEPLOY / "Containerfile").read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(r"FROM \S+:\d+\.\d+\.\d+-slim-\w+", next(line for line in lines if line.startswith("FROM")))
    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER 10001:10001"]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "jp2batch",
        "notebooks/*.ipynb",
    }


def test_the_environment_file_is_one(monkeypatch):
    lines = (DEPLOY / "jp2batch.env").read_text(encoding="utf-8").splitlines()
    settings = [line.removeprefix("#") for line in lines if re.match("#?[A-Z0-9_]+=", line)]
    assert all(re.match("# |$", line) for line in lines if line.removeprefix("#") not in settings)
    values = dict(line.split("=", 1) for line in settings)
    monkeypatch.setenv("JP2BATCH_ROOT", values["JP2BATCH_ROOT"])
    options = parsed(shlex.split(values["JP2BATCH_OPTIONS"])).params
    assert options["roots"] == ("s3://gcp-public-data-sentinel-2",)
    assert not scheme_info("s3").package, "the documented installation has its driver"
    assert all(f"`{name}" in GUIDE for name in values)


def test_the_recipe_of_the_container_has_what_it_takes(machine, monkeypatch):
    lines = (DEPLOY / "Containerfile").read_text(encoding="utf-8").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    assert steps[0][0] == "FROM"
    copied = [name for step, rest in steps if step == "COPY" for name in rest.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied)
    assert {"pyproject.toml", "README.md", "LICENSE", "jp2batch"} <= set(copied)  # what the build needs
    (entry,) = [json.loads(rest) for step, rest in steps if step == "ENTRYPOINT"]
    (check,) = [json.loads(rest.partition(" ")[2]) for step, rest in steps if step == "HEALTHCHECK"]
    (commands,) = blocks("Container")
    machine.run(commands)
    monkeypatch.setenv("JP2BATCH_ROOT", "s3://bucket")
    build, *runs = machine.noted()
    assert shlex.split(build)[-3:] == ["--file", "deploy/Containerfile", "."]
    for run in runs:
        options = shlex.split(run.partition(" jp2batch ")[2])
        assert parsed([*entry[2:], *options]).params["address"] == "0.0.0.0"
    process = machine.start(f"{shlex.join(entry)} --root {machine.folder}/data/images --workers 1 --port 8080")
    machine.wait_for("curl -sf http://localhost:8080/readyz", process)
    subprocess.run([sys.executable, *machine.here(shlex.join(check[1:2])).split(), machine.here(check[2])], check=True)


def test_sample_json_is_what_the_old_service_was_asked():
    assert list(SAMPLE) == ["Path", "rlevel"]
    assert SAMPLE["Path"].endswith("T33UUP_B8A.jp2")
    assert jp2batch.Request.from_json(SAMPLE, root="gs://gcp-public-data-sentinel-2").rlevel == -1


def test_the_limits_are_those_of_the_command():
    table = dict(re.findall(r"^\| `(--[\w-]+)` \| (\S+)", GUIDE, re.MULTILINE))
    values = parsed(["--root", "x"]).params
    options = {option.opts[0]: values[option.name] for option in serve.params if option.name in values}
    assert len(table) == 8
    numbers = {name: float(value) for name, value in table.items() if value.isdecimal()}
    assert numbers == {name: float(options[name]) for name in numbers}
    assert all(options[name] is None for name in table.keys() - numbers.keys())


def test_everything_the_guide_names_is_there():
    flags = set(re.findall(r"`(--[\w-]+)", GUIDE)) - {"--format"}
    assert flags <= {name for option in serve.params for name in option.opts}
    metrics, client = Metrics(), cast("Any", None)
    Dispatcher(client, {}, queue=0, metrics=metrics, own_workers=True)  # adds its gauges
    text = metrics.text().decode()
    named = set(re.findall(r"`(jp2batch_\w+)`", GUIDE))
    assert len(named) >= 12
    assert [name for name in named if name not in text] == []
    assert "attempts" in DEFAULTS["jp2batch"]["retries"]
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", GUIDE)
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
    assert {f"../deploy/{path.name}" for path in DEPLOY.iterdir()} <= set(links)


def test_prometheus_can_be_told_so():
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    (job,) = yaml.safe_load(block)["scrape_configs"]
    assert job["static_configs"][0]["targets"] == ["localhost:80"]


def test_no_command_is_forgotten():
    tested = ["systemd", "nginx", "TLS", "Access", "Container", "More than one machine"]
    counted = 3 + sum(len(blocks(heading)) for heading in tested)
    assert counted == len(re.findall(r"^```sh$", GUIDE, re.MULTILINE))
