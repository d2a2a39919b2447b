"""Check a cluster: packages of workers, and access to an image."""

import os
from collections.abc import Mapping
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, cast

from jp2batch.compute.connection import connected
from jp2batch.core.errors import Jp2BatchError
from jp2batch.core.options import SecretDict, StorageOptions
from jp2batch.doctor.findings import Finding
from jp2batch.doctor.storage import examine_storage
from jp2batch.image import openjpeg

if TYPE_CHECKING:
    from distributed import Client

_PACKAGES = ("jp2batch", "dask", "distributed", "cloudpickle", "numpy", "xarray", "glymur", "fsspec", "s3fs")
_PATIENCE = 15  # seconds to wait for the first worker
_SHOWN = 3  # workers named in a message


def examine_cluster(
    cluster: str | os.PathLike[str], path: str | None, storage_options: StorageOptions
) -> list[Finding]:
    """Check a cluster; with a path, check access from each worker."""
    try:
        with connected(cluster) as client:
            client.submit(os.getpid, pure=False).result(timeout=_PATIENCE)  # an adaptive cluster starts a worker
            return _examine(client, path, storage_options)
    except Jp2BatchError as error:
        return [Finding("scheduler", "problem", str(error))]
    except (OSError, CancelledError) as error:
        reason = f"no worker within {_PATIENCE} s" if isinstance(error, TimeoutError) else type(error).__name__
        return [Finding("scheduler", "problem", f"{cluster}: {reason} (start workers, and check their logs)")]


def _examine(client: "Client", path: str | None, storage_options: StorageOptions) -> list[Finding]:
    info = client.scheduler_info(n_workers=-1)
    workers = info["workers"]
    threads = sum(worker["nthreads"] for worker in workers.values())
    found = [Finding("scheduler", "ok", f"{info['address']}: {len(workers)} workers, {threads} threads")]
    versions = compare_versions(cast(Any, client.get_versions(packages=list(_PACKAGES))))
    found += versions
    if any(finding.topic == "on workers" and finding.status == "problem" for finding in versions):
        return found  # further checks need this package on the workers
    found.append(_of_all("openjpeg", client.run(_openjpeg)))
    if path is not None:
        found.append(_of_all("reaching it", client.run(_reach, path, SecretDict.of(storage_options))))
    return found


def compare_versions(versions: Mapping[str, Any]) -> list[Finding]:
    """Compare the packages of workers with the packages of this process.

    Parameters
    ----------
    versions : mapping
        Result of `distributed.Client.get_versions`.
    """
    own = _versions(versions["client"])
    others = {worker: _versions(versions) for worker, versions in versions["workers"].items()}
    found = []
    for name, version in own.items():
        different = {worker: versions.get(name) for worker, versions in others.items() if versions.get(name) != version}
        if different:
            there = ", ".join(sorted({str(one or "none") for one in different.values()}))
            text = f"{name} {version} here, {there} on {_named(different, len(others))}"
            hint = f"pip install {name}=={version} there" if name != "python" else "give both the same Python"
            found.append(Finding("on workers" if name == "jp2batch" else "versions", "problem", f"{text} ({hint})"))
    return found or [Finding("versions", "ok", "workers have the same versions as this process")]


def _versions(reply: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the versions of packages and Python, without its last number."""
    python = ".".join(str(reply["host"]["python"]).split(".")[:2])
    packages = reply["packages"]
    return {name: packages.get(name) for name in _PACKAGES} | {"python": python}


def _named(workers: Mapping[str, object], of: int) -> str:
    if len(workers) == of:
        return "all workers"
    more = f" and {len(workers) - _SHOWN} more" if len(workers) > _SHOWN else ""
    return ", ".join(sorted(workers)[:_SHOWN]) + more


def _of_all(topic: str, answers: Mapping[str, tuple[bool, str]]) -> Finding:
    """Merge the answers of all workers into a finding."""
    bad = {worker: text for worker, (well, text) in answers.items() if not well}
    if bad:
        some = next(iter(bad.values()))
        return Finding("on workers", "problem", f"{topic}: {some} (on {_named(bad, len(answers))})")
    return Finding("on workers", "ok", f"{topic}: {', '.join(sorted({text for _, text in answers.values()}))}")


def _openjpeg() -> tuple[bool, str]:
    """Check the OpenJPEG library on a worker."""
    try:
        library = openjpeg.library()
    except Jp2BatchError as error:
        return False, str(error)
    return True, f"{library.version}, found by {library.found_by}"


def _reach(path: str, storage_options: StorageOptions) -> tuple[bool, str]:
    """Check on a worker whether an image can be read."""
    finding = examine_storage(path, storage_options)[-1]
    return finding.status == "ok", finding.detail
