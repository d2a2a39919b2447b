"""Check access to an image; hint at repairs if its store refuses."""

import json
from collections.abc import Mapping

from jp2batch.core.display import format_bytes
from jp2batch.core.errors import ImageNotFound, Jp2BatchError, NotJpeg2000, PermissionDenied
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions, inner_options
from jp2batch.doctor.findings import Finding
from jp2batch.image.inspect import inspect
from jp2batch.storage.known_stores import known_hint
from jp2batch.storage.schemes import credentials_of, scheme_info
from jp2batch.storage.store_options import options_for

_PAY = 'storage_options={"requester_pays": True}'


def examine_storage(path: str, storage_options: StorageOptions) -> list[Finding]:
    """Check the store of an image, and the image."""
    store, options = Location.of(path).store, dict(storage_options or {})
    protocol, completed = store.scheme, options_for(store, options)
    used = credentials_of(protocol, completed)
    findings = [] if store.is_local else [_store(protocol, completed, used)]
    return [*findings, _image(path, protocol, options, used)]


def _store(protocol: str, options: Mapping[str, object], credentials: str | None) -> Finding:
    endpoint = options.get("endpoint_url") or inner_options(options, "client_kwargs").get("endpoint_url")
    where = f"{protocol}://" + (f" at {Location.of(str(endpoint))}" if endpoint else "")
    how = {None: "no credentials found", "anonymous": "asked anonymously"}.get(
        credentials, f"credentials: {credentials}"
    )
    return Finding("store", "ok", f"{where}, {how}")


def _image(path: str, protocol: str, options: dict[str, object], credentials: str | None) -> Finding:
    try:
        info = inspect(path, storage_options=options)
    except PermissionDenied as error:
        hint = _hint(path, protocol, options, credentials)
        return Finding("image", "problem", str(PermissionDenied(error.path, error.problem, hint or error.hint)))
    except Jp2BatchError as error:
        known = "" if isinstance(error, ImageNotFound | NotJpeg2000) else _known(path, options)
        return Finding("image", "problem", f"{error}; {known}" if known else str(error))
    rows, columns = info.shape
    return Finding("image", "ok", f"{info.path}: {rows} x {columns}, {format_bytes(info.size)}, {info.crs or 'no CRS'}")


def _hint(path: str, protocol: str, options: dict[str, object], credentials: str | None) -> str | None:
    """Return a hint against a refusal; free remedies are tried first."""
    if known := _known(path, options):
        return known
    if not scheme_info(protocol).anonymous:
        return None
    return (
        _if_anonymous(path, protocol, options)
        if credentials == "anonymous"
        else _if_signed(path, protocol, options, credentials)
    )


def _if_signed(path: str, protocol: str, options: dict[str, object], credentials: str | None) -> str:
    if _reads(path, options | dict(scheme_info(protocol).anonymous)):
        return f"it is public: ask without credentials, by {_anonymous(protocol)}"
    if credentials is None:
        return "anonymous requests are refused, too, and no credentials were found: give some in the environment"
    asks = options.get("requester_pays") or "request_payer" not in scheme_info(protocol).flags
    pays = "" if asks else f"the requester may have to pay ({_PAY}), "
    return f"anonymous requests are refused, too: {pays}{credentials} may lack the right, or there is no such key"


def _if_anonymous(path: str, protocol: str, options: dict[str, object]) -> str:
    own = {name: value for name, value in options.items() if name not in scheme_info(protocol).anonymous}
    found = credentials_of(protocol, own)
    if found is not None and _reads(path, own):
        return f"with the credentials found ({found}) it can be read: leave out {_anonymous(protocol)}"
    return f"it is not public: leave out {_anonymous(protocol)}, and give credentials that may read it"


def _anonymous(protocol: str) -> str:
    return f"storage_options={json.dumps(scheme_info(protocol).anonymous).replace('true', 'True')}"


def _reads(path: str, options: Mapping[str, object]) -> bool:
    try:
        inspect(path, storage_options=options)
    except Jp2BatchError:
        return False
    return True


def _known(path: str, options: Mapping[str, object]) -> str:
    return known_hint(Location(Location.of(path).store.text, options))
