"""A gate in front of a server: shut, it accepts connections and passes nothing, as a stopped server does."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """A relay to a port of this machine, which can be shut."""

    def __init__(self, port: int) -> None:
        self._port, self._open = port, threading.Event()
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        _start(self._accept)

    def shut(self) -> None:
        """Pass nothing."""
        self._open.clear()

    def open(self) -> None:
        """Pass all, and what was held back."""
        self._open.set()

    def close(self) -> None:
        """Accept no more connections."""
        self._listener.close()
        self.open()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                one = self._listener.accept()[0]
                other = socket.create_connection(("127.0.0.1", self._port))
                _start(self._pass, one, other)
                _start(self._pass, other, one)

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError), one, other:
            while data := one.recv(1 << 16):
                self._open.wait()
                other.sendall(data)
            other.shutdown(socket.SHUT_RDWR)


def _start(function, *arguments: object) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()


@contextmanager
def gate(address: str) -> Iterator[Gate]:
    """Put a gate in front of a server's address in a `with` block."""
    made = Gate(int(address.rpartition(":")[2]))
    try:
        yield made
    finally:
        made.close()
