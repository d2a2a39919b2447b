"""Check the configuration: every value must be read, and every key known."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from jp2batch.core import config
from jp2batch.core.errors import Jp2BatchError
from jp2batch.core.location import Location
from jp2batch.core.store_settings import store_costs
from jp2batch.doctor.findings import Finding
from jp2batch.image.decoder import default_decoder
from jp2batch.storage.signing import validate_signers

_CHECKS = (
    config.max_result,
    config.max_whole_file,
    config.first_read,
    config.threads,
    config.deadline,
    config.driver,
    config.world_files,
    config.retry_policy,
    config.index_settings,
    default_decoder,
    validate_signers,
)
_PROTOCOLS = ("default", "file", "s3", "gs", "https")
_OWN_KEYS = ("profiles", "stores", "known-stores", "signers", "index.shared-options")  # with names of the user
_PATHS = ("jp2batch.openjpeg-library", "jp2batch.index.folder", "jp2batch.index.shared")
_NAMES = {"auto", "fsspec", "obstore", *config.DEFAULTS["jp2batch"]["profiles"]}
_MEASURE = re.compile(r"[\d.]+ ?[A-Za-z]{0,12}")


def examine_configuration() -> Finding:
    """Check the configuration, and list changed values."""
    try:
        for protocol in _PROTOCOLS:
            store_costs(protocol)
        config.is_mirrored("")
        for check in _CHECKS:
            check()
    except Jp2BatchError as error:
        return Finding("configuration", "problem", str(error))
    changed = _changed()
    if unknown := list(_unknown(changed)):
        return Finding("configuration", "problem", "; ".join(unknown))
    changes = ", ".join(f"{key} = {_shown(key, value)}" for key, value in changed.items())
    return Finding("configuration", "ok", changes or "the defaults")


def _changed() -> dict[str, object]:
    """Return changed values by full key.

    A full key is, for example, "jp2batch.stores.s3.latency".
    """
    defaults = dict(_flattened("jp2batch", config.DEFAULTS["jp2batch"]))
    now = _flattened("jp2batch", config.settings())
    return {key: value for key, value in now if key not in defaults or value != defaults[key]}


def _flattened(key: str, value: object) -> Iterator[tuple[str, object]]:
    if not isinstance(value, Mapping) or not value:
        yield key.replace("_", "-"), value  # dask equates both spellings
        return
    for name, inner in value.items():
        yield from _flattened(f"{key}.{name}", inner)


def _unknown(keys: Mapping[str, object]) -> Iterator[str]:
    """Yield a problem for each key without a default."""
    known = dict(_flattened("jp2batch", config.DEFAULTS["jp2batch"]))
    for key in keys:
        if key not in known and not key.startswith(tuple(f"jp2batch.{own}." for own in _OWN_KEYS)):
            like = get_close_matches(key, known, 1)
            yield f"{key} is unknown" + (f": {like[0]} is meant?" if like else "")


def _shown(key: str, value: object) -> str:
    """Return a configured value for display, or "…" if possibly secret.

    Numbers, sizes, times, known names and redacted paths are shown.
    """
    if not isinstance(value, str):
        return str(value) if value is None or isinstance(value, bool | int | float) else "…"
    if key in _PATHS:
        return Location.of(value).redacted
    return value if _MEASURE.fullmatch(value) or value in _NAMES else "…"
