"""TLS in front of a server, in a process of its own.

A new connection waits for the round trips of TCP and TLS 1.3.
"""

import argparse
import asyncio
import contextlib
import datetime
import ipaddress
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import ROOT

ROUND_TRIPS = 2
"""Round trips of a new connection: TCP, and TLS 1.3."""

_LARGEST = 256 * 1024  # bytes relayed at once


def make_certificate(folder: Path) -> Path:
    """Write a certificate of 127.0.0.1 and its key to a file; return it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    host, day = ipaddress.ip_address("127.0.0.1"), datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "127.0.0.1.pem"
    path.write_bytes(certificate.public_bytes(pem) + private)
    return path


@contextlib.contextmanager
def with_tls(address: str, certificate: Path, latency: float) -> Iterator[str]:
    """Put TLS in front of a server in a `with` block; yield the address."""
    port = address.rpartition(":")[2]
    command = [sys.executable, "-m", "benchmarks.tls_relay", port, str(certificate), f"--latency={latency}"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"https://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.stdin.close()  # which it takes for the order to end
            process.wait(timeout=10)


async def relay(port: int, certificate: Path, latency: float) -> None:
    """Relay TLS connections to a port until stdin ends; print the own port first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()

    async def accept(listener: socket.socket) -> None:
        async with asyncio.TaskGroup() as conversations:
            while True:
                connection, _ = await loop.sock_accept(listener)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                conversations.create_task(_converse(connection, port, context, ROUND_TRIPS * latency))

    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.setblocking(False)
        print(listener.getsockname()[1], flush=True)
        accepting = asyncio.create_task(accept(listener))
        await asyncio.to_thread(sys.stdin.read)
        accepting.cancel()


async def _converse(connection: socket.socket, port: int, context: ssl.SSLContext, delay: float) -> None:
    await asyncio.sleep(delay)
    reader = asyncio.StreamReader()
    protocol, loop = asyncio.StreamReaderProtocol(reader), asyncio.get_running_loop()
    with contextlib.suppress(OSError):  # the client may hang up at any time
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=context)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        answers, questions = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pump(reader, questions), _pump(answers, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_LARGEST):
            writer.write(data)
            await writer.drain()
    writer.close()


def main() -> None:
    """Relay TLS connections to a port of this machine."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("certificate", type=Path)
    parser.add_argument("--latency", type=float, default=0.0)
    asyncio.run(relay(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
