"""Hosts in Linux namespaces: a network between them whose links can be cut, and no folder in common.

Needs Linux and the right to make namespaces, as root has it; `can_make_hosts` tells.
"""

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from support.processes import children_of
from support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
_ENTER = ["--user", "--preserve-credentials", "--net"]
_SETTLE = """
mount --bind {own} {here} && mount -t tmpfs none {all} && hostname {name} && ip link set lo up && echo ready
exec cat
"""
"""Commands of the first process of a host: it ends, and all others with it, when its stdin is closed."""


@functools.cache
def can_make_hosts() -> bool:
    """Return whether this user can make namespaces and links between them."""
    if not all(map(shutil.which, ("unshare", "nsenter", "ip", "mount"))):
        return False
    trial = "ip link add veth0 type veth peer name veth1 && ip link add switch type bridge && mount -t tmpfs none /mnt"
    command = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "sh", "-c", trial]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


class HostProcess:
    """A process on a host, with files of its output."""

    def __init__(self, entering: "subprocess.Popen[bytes]", output: Path) -> None:
        self._entering, self._output = entering, output

    @property
    def family(self) -> list[psutil.Process]:
        """The process and its descendants."""
        return children_of(self._entering.pid)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, not to its descendants."""
        wait_until(lambda: self.family or not self.runs)
        with contextlib.suppress(IndexError, psutil.NoSuchProcess):
            self.family[0].send_signal(number)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the process and its descendants for a `with` block."""
        stopped = self.family
        for one in stopped:
            one.suspend()
        try:
            yield
        finally:
            for one in (*stopped, psutil.Process(self._entering.pid)):  # nsenter stops with its child
                one.resume()

    def kill(self) -> None:
        """Kill the process and its descendants."""
        for process in self.family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._entering.wait(30)

    @property
    def runs(self) -> bool:
        """True until the process ends."""
        return self._entering.poll() is None

    def wait(self, seconds: float = 120) -> int:
        """Wait for the end; return the exit code, negative for a signal."""
        return self._entering.wait(seconds)

    @property
    def stdout(self) -> str:
        """Text written to stdout until now."""
        return self._output.with_suffix(".out").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """Text written to stderr until now."""
        return self._output.with_suffix(".err").read_text(errors="replace")


class Host:
    """A host of its own: address, folder, processes, name."""

    def __init__(self, hosts: "Hosts", name: str, number: int) -> None:
        self.name, self.address, self.link = name, f"192.0.2.{number}", f"link{number}"
        self._hosts, self._count, own = hosts, 0, hosts.folder / "all" / name
        self._opened: list[subprocess.Popen[bytes]] = []
        self.here = hosts.folder / "here"
        """Folder of the host, as seen on the host."""
        own.mkdir(parents=True)
        settle = _SETTLE.format(own=own, here=self.here, all=own.parent, name=name)
        self._holder = hosts.enter(
            *("unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc"),
            *("sh", "-c", settle),
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n", f"{name} does not start"
        init = str(children_of(self._holder.pid)[0].pid)
        self.folder = Path(f"/proc/{init}/root{self.here}")
        """The same folder, as seen from outside."""
        self._enter = ["nsenter", "--target", init, *_ENTER, "--mount", "--pid", "--uts", "env", "-C", str(self.here)]
        hosts.ip("link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", init)
        hosts.ip("link", "set", self.link, "master", "switch", "up")
        for words in (["addr", "add", f"{self.address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"]):
            subprocess.run([*self._enter, "ip", *words], check=True)

    def popen(
        self, *command: object, env: Mapping[str, str] | None = None, **options: Any
    ) -> "subprocess.Popen[bytes]":
        """Open a process in the folder of the host."""
        settings = (
            os.environ | self._hosts.settings | {"HOME": str(self.here), "TMPDIR": str(self.here)} | dict(env or {})
        )
        self._opened.append(subprocess.Popen([*self._enter, *map(str, command)], env=settings, **options))
        return self._opened[-1]

    def start(self, *command: object, env: Mapping[str, str] | None = None) -> HostProcess:
        """Start a command in the folder of the host, with its output in files there."""
        self._count += 1
        output = self.folder / f"log-{self._count}"
        with output.with_suffix(".out").open("wb") as out, output.with_suffix(".err").open("wb") as err:
            return HostProcess(self.popen(*command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err), output)

    def python(self, *arguments: object, env: Mapping[str, str] | None = None) -> HostProcess:
        """Start Python on the host."""
        return self.start(sys.executable, *arguments, env=env)

    def cut(self) -> None:
        """Cut the link: packets are lost, and nobody is told."""
        self._hosts.ip("link", "set", self.link, "nomaster")

    def restore(self) -> None:
        """Restore the link."""
        self._hosts.ip("link", "set", self.link, "master", "switch")

    def crash(self) -> None:
        """End the host with all its processes, at once."""
        for child in children_of(self._holder.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self._holder.kill()
        for process in (self._holder, *self._opened):
            process.communicate()


class Hosts:
    """A network of hosts."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder, self.settings, self._hosts = folder, dict(settings), dict[str, Host]()
        self.stack = ExitStack()
        """Is closed after the hosts have ended."""
        (folder / "here").mkdir(parents=True)
        hub = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", "echo ready; exec cat"]
        self._hub = subprocess.Popen(hub, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._hub.stdout is not None
        self._hub.stdout.readline()
        self.ip("link", "add", "switch", "type", "bridge")
        self.ip("link", "set", "switch", "up")

    def enter(self, *command: str) -> "subprocess.Popen[bytes]":
        """Start a command in the namespace of the network."""
        words = ["nsenter", "--target", str(self._hub.pid), *_ENTER, *command]
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def ip(self, *words: str) -> None:
        """Configure the network."""
        done = self.enter("ip", *words)
        done.communicate()
        assert done.returncode == 0, words

    def host(self, name: str) -> Host:
        """Return the host of a name, made if missing."""
        if name not in self._hosts:
            self._hosts[name] = Host(self, name, len(self._hosts) + 1)
        return self._hosts[name]

    def close(self) -> None:
        """End all hosts."""
        for host in self._hosts.values():
            host.crash()
        self._hub.kill()
        self._hub.communicate()
        self.stack.close()


@contextmanager
def network(folder: Path, **settings: str) -> Iterator[Hosts]:
    """Run a network in a `with` block; `settings` are environment variables of all processes."""
    hosts = Hosts(folder, settings)
    try:
        yield hosts
    finally:
        hosts.close()
