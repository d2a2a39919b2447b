"""Check access to an image; hint at repairs if its store refuses."""

import json
from collections.abc import Mapping

from jp2batch.core.display import format_bytes
from jp2batch.core.errors import ImageNotFound, Jp2BatchError, NotJpeg2000, PermissionDenied
from jp2batch.core.location import Location
from jp2batch.core.options import StorageOptions, inner_options
from jp2batch.doctor.findings import Finding
from jp2batch.image.inspect import inspect
from jp2batch.storage.schemes import credentials_of, scheme_info

_PAY = 'storage_options={"requester_pays": True}'
_REQUESTER_PAYS = f"its requester pays: {_PAY}, with credentials of AWS; your account is charged"
_BUCKETS = {  # buckets of Sentinel-2 images, with the options for each
    "sentinel-s2-l1c": _REQUESTER_PAYS,
    "sentinel-s2-l2a": _REQUESTER_PAYS,
    "eodata": 'Copernicus Data Space: storage_options={"endpoint_url": "https://eodata.dataspace.copernicus.eu"}, with'
    " keys that it gives to its users",
    "gcp-public-data-sentinel-2": 'public: gs:// with storage_options={"token": "anon"}',
}


def examine_storage(path: str, storage_options: StorageOptions) -> list[Finding]:
    """Check the store of an image, and the image."""
    store, options = Location.of(path).store, dict(storage_options or {})
    protocol = store.scheme
    used = credentials_of(protocol, options)
    findings = [] if store.is_local else [_store(protocol, options, used)]
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
        known = None if isinstance(error, ImageNotFound | NotJpeg2000) else _known_of_bucket(path)
        return Finding("image", "problem", f"{error}; of this bucket is known: {known}" if known else str(error))
    rows, columns = info.shape
    return Finding("image", "ok", f"{info.path}: {rows} x {columns}, {format_bytes(info.size)}, {info.crs or 'no CRS'}")


def _hint(path: str, protocol: str, options: dict[str, object], credentials: str | None) -> str | None:
    """Return a hint against a refusal; free remedies are tried first."""
    known = _known_of_bucket(path)
    if known is not None and not options.get("requester_pays"):
        return f"of this bucket is known: {known}"
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


def _known_of_bucket(path: str) -> str | None:
    return _BUCKETS.get(Location.of(path).store.bucket)
