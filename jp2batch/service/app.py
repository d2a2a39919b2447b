"""Run the server: start workers, listen, serve, drain."""

import asyncio
import contextlib
import functools
import logging
import resource
import signal
import ssl
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tornado.netutil import bind_sockets, bind_unix_socket
from tornado.web import Application

from jp2batch.compute.cluster import async_client, load_distributed
from jp2batch.compute.engine import EngineOptions
from jp2batch.compute.task import PickledSpec, TaskSpec, as_response
from jp2batch.core import config
from jp2batch.core.errors import ConfigurationError
from jp2batch.core.options import SecretDict
from jp2batch.service import handlers, image_handlers
from jp2batch.service.canary import ROOT as CANARY
from jp2batch.service.canary import Canary, open_canary
from jp2batch.service.connections import Routes, Server, server_of
from jp2batch.service.dispatcher import Dispatcher
from jp2batch.service.log import FIELDS, log_to_stderr
from jp2batch.service.metrics import Metrics
from jp2batch.service.roots import Root, check_roots, open_below
from jp2batch.service.send_queue import SendQueue
from jp2batch.service.server_state import Service
from jp2batch.service.settings import Settings

if TYPE_CHECKING:
    from distributed import Client

_log = logging.getLogger("jp2batch.service")

_BACKLOG = 1024  # connections not yet accepted
_STOPPING = (signal.SIGTERM, signal.SIGINT)
_SPARE_FILES = 512  # open files besides connections


def serve(settings: Settings, engine: EngineOptions) -> None:
    """Run the service until SIGTERM or SIGINT.

    Parameters
    ----------
    settings : Settings
        Settings of the operator.
    engine : EngineOptions
        Cluster to run on: local processes, or an address.

    Raises
    ------
    ConfigurationError
        The service cannot start.
    """
    context = _tls(settings)
    load_distributed()
    log_to_stderr()
    _allow_files(settings.limits.connections + _SPARE_FILES)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload
    stop = _stop_signal()
    with contextlib.ExitStack() as stack:
        cluster = engine.start(stack, check=functools.partial(_end_if, stop), private=True)
        if cluster is None:
            raise ConfigurationError("", "the service needs a cluster", "give processes=True or client=")
        if not stop.done():
            check_roots(cluster.client, settings.roots)
        if not stop.done():
            own = engine.client is None
            asyncio.run(_serve(settings, cluster.client, context, stop, own_workers=own))


def _stop_signal() -> Future[None]:
    """Return a future of the first signal; a second ends the process.

    A handler that raised an exception would interrupt dask in the middle of starting or closing its cluster.
    """
    stop: Future[None] = Future()

    def receive(*_: object) -> None:
        for number in _STOPPING:
            signal.signal(number, signal.SIG_DFL)
        stop.set_result(None)

    for number in _STOPPING:
        signal.signal(number, receive)
    return stop


def _end_if(stop: Future[None]) -> None:
    """End this process if a signal came meanwhile."""
    if stop.done():
        raise SystemExit(0)


def orders_for(roots: Mapping[str, Root]) -> dict[str, PickledSpec]:
    """Return the task settings of each root."""
    plain = TaskSpec(
        deliver=as_response,  # set for each request, with `select`
        storage_options=SecretDict(),
        settings=config.settings(),
        deadline=None,  # set for each request
        open=open_canary,
    )
    orders = {CANARY: plain} | {
        name: replace(plain, storage_options=SecretDict(root.storage_options), open=open_below)
        for name, root in roots.items()
    }
    return {name: PickledSpec.of(order) for name, order in orders.items()}


def application(service: Service) -> Application:
    """Return the tornado application with all routes."""
    routes = {
        "/api/jp2": image_handlers.ImageHandler,
        "/api/jp2/batch": image_handlers.BatchHandler,
        "/api/jp2/info": image_handlers.DescriptionHandler,
        "/api/jp2/plan": image_handlers.DescriptionHandler,
        "/": handlers.PageHandler,
        "/healthz": handlers.HealthHandler,
        "/readyz": handlers.ReadyHandler,
        "/metrics": handlers.MetricsHandler,
        "/openapi.json": handlers.OpenApiHandler,
    }
    return Routes(
        list(routes.items()),
        default_handler_class=handlers.NothingHandler,
        service=service,
        log_function=lambda _: None,  # handlers log themselves
    )


async def _serve(
    settings: Settings, cluster: "Client", context: ssl.SSLContext | None, stop: Future[None], *, own_workers: bool
) -> None:
    limits = settings.limits
    async with async_client(cluster) as client:
        metrics = Metrics()
        orders = orders_for(settings.roots)
        pool = Dispatcher(client, orders, queue=limits.queue, metrics=metrics, own_workers=own_workers)
        canary = Canary(pool, limits.deadline, fatal=own_workers)
        service = Service(settings, pool, canary, metrics, SendQueue(limits.unsent, limits.sending))
        server = server_of(service, application(service), context)
        _listen(server, settings)
        keeper = asyncio.ensure_future(_keep(pool, canary))  # no work is begun without an address
        reload = functools.partial(_reload, settings, context)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
        await asyncio.wait({asyncio.wrap_future(stop), keeper}, return_when=asyncio.FIRST_COMPLETED)
        await _drain(service, server)
        _unlisten(settings)
        keeper.cancel()
        await pool.close()
        if keeper.done() and not keeper.cancelled() and (error := keeper.exception()):
            raise error


async def _keep(pool: Dispatcher, canary: Canary) -> None:
    await asyncio.gather(pool.keep(), canary.keep())


def _listen(server: Server, settings: Settings) -> None:
    try:
        if settings.unix_socket:
            server.add_socket(bind_unix_socket(settings.unix_socket, mode=0o660, backlog=_BACKLOG))
            where = f"unix:{settings.unix_socket}"
        else:
            sockets = bind_sockets(settings.port, settings.address, backlog=_BACKLOG)
            server.add_sockets(sockets)
            scheme = "https" if settings.certfile else "http"
            host = f"[{settings.address}]" if ":" in settings.address else settings.address
            where = f"{scheme}://{host}:{sockets[0].getsockname()[1]}"
    except OSError as error:
        where = settings.unix_socket or f"{settings.address}:{settings.port}"
        hint = "give another address=, port= or unix_socket="
        raise ConfigurationError("", f"cannot listen on {where}: {error.strerror or error}", hint) from None
    roots = {name: root.shown for name, root in settings.roots.items()}
    _log.info("listening", extra={FIELDS: {"address": where, "roots": roots}})


def _unlisten(settings: Settings) -> None:
    if settings.unix_socket:
        Path(settings.unix_socket).unlink(missing_ok=True)


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.certfile is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load_certificate(settings, context)
    return context


def _reload(settings: Settings, context: ssl.SSLContext | None) -> None:
    """Read tokens and certificate again; after an error, keep the old."""
    try:
        settings.tokens.reload()
        if context is not None:
            _load_certificate(settings, context)
    except ConfigurationError as error:
        _log.error("reload", extra={FIELDS: {"detail": str(error)}})  # a mistake of the operator
    else:
        _log.info("reloaded")


def _load_certificate(settings: Settings, context: ssl.SSLContext) -> None:
    try:
        context.load_cert_chain(settings.certfile or "", settings.keyfile, password=_no_password)
    except (OSError, ssl.SSLError) as error:
        hint = "check certfile= and keyfile="
        raise ConfigurationError(settings.certfile or "", f"cannot load the certificate: {error}", hint) from None


def _no_password() -> str:
    """Fail instead of prompting for a password."""
    raise ssl.SSLError("the key is encrypted")


async def _drain(service: Service, server: Server) -> None:
    """Close the listening sockets, and wait for running requests."""
    service.draining = True
    _log.info("draining", extra={FIELDS: {"requests": service.open_requests}})
    server.stop()
    loop = asyncio.get_running_loop()
    end = loop.time() + service.settings.drain
    while (service.open_requests or service.outbox.bytes) and loop.time() < end:
        await asyncio.sleep(0.02)
    await server.close_all_connections()
    _log.info("stopped", extra={FIELDS: {"given_up": service.open_requests}})


def _allow_files(count: int) -> None:
    """Raise the limit of open files, as far as allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
