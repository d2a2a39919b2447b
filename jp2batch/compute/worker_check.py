"""Plugin of dask workers: each checks itself before it gets work.

The module is sent to workers as text, because they may lack this package, or have another version of it, or another
Python. Therefore it imports only distributed and the standard library.
"""

import asyncio
import inspect
import pkgutil
import sys
from collections.abc import Callable, Sequence
from importlib import metadata

from distributed import Status, Worker, WorkerPlugin

_AMPLE = 1e9  # units of the resource of a worker; each task takes one


class WorkerCheck(WorkerPlugin):
    """Check of a worker; passing it gives a resource.

    Tasks that require this resource run only on workers that have passed. dask sets up the plugins of a worker before
    the worker reads its first task.

    Parameters
    ----------
    version : str
        Required version of this package.
    packages : sequence of str
        Further packages required.
    resource : str
        Name of the resource.
    topic : str
        Topic of the event with the address, problem and hint of a worker that fails.
    """

    def __init__(self, version: str, packages: Sequence[str], resource: str, topic: str) -> None:
        self._arguments = version, tuple(packages), resource, topic

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        """Pickle the text of this module, and the arguments."""
        text = inspect.getsource(sys.modules[__name__])
        return eval, (f"exec({text!r}, names := {{}}) or names['WorkerCheck'](*{self._arguments!r})",)

    async def setup(self, worker: Worker) -> None:
        """Check the worker of this plugin."""
        version, packages, resource, topic = self._arguments
        problem, hint = await asyncio.to_thread(problem_here, version, packages)
        if problem:
            worker.log_event(topic, {"worker": worker.address, "problem": problem, "hint": hint})
            return
        await worker.set_resources(**{resource: _AMPLE})
        if worker.status == Status.running:  # the scheduler assigns waiting tasks to workers that begin to run
            worker.status = Status.paused
            worker.status = Status.running


def problem_here(version: str, packages: Sequence[str]) -> tuple[str, str]:
    """Return a problem of this process, and a hint; empty without any."""
    hint = f"pip install jp2batch=={version} there"
    try:
        found = pkgutil.resolve_name("jp2batch:__version__")
    except Exception as error:  # noqa: BLE001  # whatever an import raises
        return f"has no jp2batch: {_reason(error)}", hint
    if found != version:
        return f"has jp2batch {found}, and the client {version}", hint
    try:
        pkgutil.resolve_name("jp2batch.compute.isolated:__doc__")
    except Exception as error:  # noqa: BLE001
        return f"cannot import jp2batch: {_reason(error)}", hint
    for package in packages:
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            return f"lacks {package}, which the output needs", "pip install 'jp2batch[files]' there"
    return "", ""


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]
