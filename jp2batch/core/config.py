"""Reader of the configuration: dask's, namespace `jp2batch`.

`jp2batch.yaml` holds and explains the defaults.
"""

import contextlib
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import dask.config
import platformdirs
import yaml
from dask.utils import parse_bytes, parse_timedelta

from jp2batch.core.errors import ConfigurationError
from jp2batch.core.location import Location, described

T = TypeVar("T")

DEFAULTS: dict[str, Any] = yaml.safe_load(files("jp2batch").joinpath("jp2batch.yaml").read_text(encoding="utf-8"))
_UNREADABLE = (ValueError, TypeError, AttributeError, KeyError, OverflowError)  # by parsing a value of another kind


def _complete() -> None:
    """Add the defaults to dask's configuration.

    dask replaces a value by a section of defaults, as `index: false` in a file; such a value is kept, to be refused.
    """
    given = dask.config.get("jp2batch", {})
    given = {key.replace("_", "-"): value for key, value in given.items()} if isinstance(given, Mapping) else {}
    dask.config.update_defaults(DEFAULTS)
    sections = (key for key, value in DEFAULTS["jp2batch"].items() if isinstance(value, Mapping))
    wrong = {key: given[key] for key in sections if not isinstance(given.get(key, {}), Mapping | None)}
    dask.config.set({f"jp2batch.{key}": value for key, value in wrong.items()})


_complete()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Number of attempts for a failing request, and waits between them."""

    attempts: int
    """Attempts in all; 1 = no retries."""
    first_wait: float
    """Seconds before the second attempt; doubled for each further attempt."""
    longest_wait: float
    """Longest wait in seconds.

    If a store demands a longer wait, the request fails.
    """
    hedged: float = 0.0
    """Share of requests that may be repeated while late; 0 = none."""


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """Settings of the image index: size limits and locations."""

    enabled: bool
    """Whether the index is kept and used."""
    folder: Path
    """Folder of the index file, shared by all processes."""
    memory: int
    """Limit of the index in the memory of a process, in bytes."""
    disk: int
    """Limit of the index file, in bytes; 0 = no file."""
    shared: str | None
    """Path or URL of a table, or of a folder of tables."""
    shared_options: Mapping[str, object]
    """fsspec's options for the shared table."""


def retry_policy() -> RetryPolicy:
    """Return the number of attempts for a failing request, and the waits."""
    values = _section("retries")
    return RetryPolicy(
        attempts=values.parsed("attempts", lambda value: max(1, int(value)), "a number", "such as 5"),
        first_wait=values.parsed("first-wait", _seconds, "a duration", "such as 200ms"),
        longest_wait=values.parsed("longest-wait", _seconds, "a duration", "such as 90s"),
        hedged=values.parsed("hedged", lambda value: max(0.0, float(value)), "a share", "such as 0.05"),
    )


def index_settings() -> IndexSettings:
    """Return the settings of the image index."""
    values = _section("index")
    size = "a size", "such as 64 MiB"
    return IndexSettings(
        enabled=values.parsed("enabled", _flag, "true or false", "without quotes"),
        folder=values.parsed("folder", _index_folder, "a path", "or null"),
        memory=values.parsed("memory", _size, *size),
        disk=values.parsed("disk", _size, *size),
        shared=values.parsed("shared", lambda value: str(value) if value else None, "a path or URL", "or null"),
        shared_options=values.parsed("shared-options", lambda value: dict(value or {}), "a mapping", "of options"),
    )


def _index_folder(folder: Any) -> Path:
    return Path(folder).expanduser() if folder else Path(platformdirs.user_cache_dir("jp2batch", False))


def share_index(url: str, storage_options: Mapping[str, object]) -> None:
    """Use a shared index table for all further reads."""
    place = Location.of(url).absolute(str(Path.cwd())).text  # workers may run in another folder
    dask.config.set({"jp2batch.index.shared": place, "jp2batch.index.shared-options": dict(storage_options)})


def driver() -> str:
    """Return the driver: "auto", "fsspec" or "obstore" (of S3)."""
    value = get_value("driver")
    if value not in ("auto", "fsspec", "obstore"):
        raise ConfigurationError("", "jp2batch.driver is not a known driver", "give auto, fsspec or obstore")
    return str(value)


def world_files() -> str:
    """Return where world files are read: "local", "everywhere" or "never"."""
    value = get_value("world-files")
    if value not in ("local", "everywhere", "never"):
        raise ConfigurationError("", "jp2batch.world-files is not a place", "give local, everywhere or never")
    return str(value)


def is_mirrored(host: str) -> bool:
    """Return whether a host or a domain of it is in `jp2batch.mirrors`."""
    hosts = _parsed("mirrors", _texts, "a list of hosts", 'such as ["mirrors.example.org"]')
    labels = host.lower().split(".")
    return any(".".join(labels[place:]) in hosts for place in range(len(labels)))


def _texts(value: Any) -> frozenset[str]:
    if isinstance(value, str) or not all(isinstance(one, str) for one in value or ()):
        raise ValueError
    return frozenset(one.lower() for one in value or ())


def deadline() -> float:
    """Return the seconds after which a request times out.

    The limit holds only for work in a process that can be ended.
    """
    return _parsed("deadline", _positive_seconds, "a duration", 'such as "10 minutes"')


def settings() -> dict[str, object]:
    """Return the whole configuration, for transfer to a worker."""
    return _get_all()


def apply_settings(values: Mapping[str, object] | None) -> None:
    """Adopt the configuration of a client, if it differs."""
    if values is not None and values != _get_all():
        dask.config.set({"jp2batch": dict(values)})


def max_result() -> int:
    """Return the size limit of a read's result, in bytes."""
    return _bytes("max-result")


def max_whole_file() -> int:
    """Return the size limit of files read whole, in bytes."""
    return _bytes("max-whole-file")


def signers() -> Mapping[str, str]:
    """Return the names of signing functions, by host."""
    value = get_value("signers") or {}
    if isinstance(value, Mapping) and all(isinstance(text, str) for pair in value.items() for text in pair):
        return value
    hint = "give it as {host: module:function}"
    raise ConfigurationError("", f"jp2batch.signers {described(value)} is not a table of functions by host", hint)


def first_read() -> int:
    """Return the length of the first read of a file, in bytes."""
    return max(16, _bytes("first-read"))


def decoder() -> str:
    """Return the name of the decoder's class, as module:class."""
    return str(get_value("decoder"))


def openjpeg_library() -> str | None:
    """Return the configured path of libopenjp2; None to search for it."""
    value = get_value("openjpeg-library")
    return str(value) if value else None


def threads() -> int:
    """Return the number of decoding threads of a read."""
    if get_value("threads") is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return _parsed("threads", lambda value: max(1, int(value)), "a number", "or null")


def _get_all() -> dict[str, Any]:
    """Return all values; restore the defaults if they are missing.

    If this module is imported within `with dask.config.set({"jp2batch.…": …})`, the end of that block removes all
    defaults, because they did not exist at its start.
    """
    found: dict[str, Any] = dask.config.get("jp2batch", {})
    if not all(key in found or key.replace("-", "_") in found for key in DEFAULTS["jp2batch"]):
        _complete()
        found = dask.config.get("jp2batch")
    return found


def get_value(key: str) -> Any:
    """Return a value of the namespace `jp2batch`."""
    _get_all()
    return dask.config.get(f"jp2batch.{key}")


def _flag(value: object) -> bool:
    if value not in (True, False):  # 1 and 0 of environment variables, too
        raise ValueError
    return bool(value)


def _size(value: Any) -> int:
    return int(parse_bytes(value))


def _seconds(value: Any) -> float:
    return float(parse_timedelta(value))


def _positive_seconds(value: Any) -> float:
    if not (seconds := _seconds(value)) > 0:
        raise ValueError
    return seconds


def _bytes(key: str) -> int:
    return _parsed(key, _size, "a size", 'such as "4 GiB"')


def _parsed(key: str, parse: Callable[[Any], T], kind: str, example: str) -> T:
    """Return a parsed value; refuse values unlike their kind."""
    return _read(key, get_value(key), parse, kind, example)


def _read(key: str, value: Any, parse: Callable[[Any], T], kind: str, example: str) -> T:
    with contextlib.suppress(*_UNREADABLE):
        return parse(value)
    raise ConfigurationError("", f"jp2batch.{key} {described(value)} is not {kind}", f"give {kind} {example}")


@dataclass(frozen=True, slots=True)
class _Section:
    """A section, completed with the defaults."""

    key: str
    values: Mapping[str, Any]

    def parsed(self, name: str, parse: Callable[[Any], T], kind: str, example: str) -> T:
        """Return a parsed value; refuse values unlike their kind."""
        return _read(f"{self.key}.{name}", self.values[name], parse, kind, example)


def _section(key: str) -> _Section:
    defaults = DEFAULTS["jp2batch"][key]
    given = _parsed(key, lambda value: dict(value.items()), "a section", f"with {', '.join(defaults)}")
    own = {str(name).replace("_", "-"): value for name, value in given.items()}  # dask equates both spellings
    return _Section(key, {**defaults, **own})


def dask_value(key: str) -> Any:
    """Return a value of dask's own configuration; None if it has none."""
    return dask.config.get(key, None)


def with_dask_values(values: Mapping[str, object]) -> AbstractContextManager[object]:
    """Set values of dask's own configuration, for a `with` block."""
    found: AbstractContextManager[object] = dask.config.set(dict(values))
    return found
