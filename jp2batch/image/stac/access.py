"""Advice on access to an asset, from its STAC item.

Nothing is switched on: a catalogue could send credentials to another host, or costs to the user.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jp2batch.core.location import host_of
from jp2batch.image.stac.hrefs import PLAIN_NAME, Href, hrefs_of

_BEARER = 'it needs a bearer token: give storage_options={"headers": {"Authorization": "Bearer …"}}'
_BY_TYPE = {  # authentication extension 1.1
    "apiKey": 'it needs an API key: give it by storage_options={"headers": …}',
    "http": 'it needs a login: give storage_options={"headers": {"Authorization": …}}',
    "oauth2": _BEARER,
    "openIdConnect": _BEARER,
    "s3": 'it needs credentials of S3: give storage_options={"key": …, "secret": …}',
    "signedUrl": 'it needs a signed URL: name a function in jp2batch.signers, or give storage_options={"sign": …}',
}
_BY_NAME = {"oidc": "openIdConnect", "bearer": "oauth2", "signed_url": "signedUrl"}
_HOST = re.compile(r"[a-z0-9.-]{1,100}")


def advice(href: Href, asset: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    """Return advice for a refused asset; empty if unknown.

    Formats: authentication extension 1.1, storage extension 1.0 and 2.0.
    """
    told = [*_of_authentication(href.members, properties), *_of_storage(href.members, properties)]
    if not told:
        return ""
    others = [one.name for one in hrefs_of(asset) if one.text != href.text and PLAIN_NAME.fullmatch(one.name)]
    return "; ".join([*told, *(f'or take alternate="{name}"' for name in others)])


def _of_authentication(members: Mapping[str, Any], properties: Mapping[str, Any]) -> Iterator[str]:
    for name, scheme in _schemes(members, properties, "auth"):
        kind = str(scheme.get("type") or _BY_NAME.get(name) or name)
        if kind == "http" and scheme.get("scheme") == "bearer":
            kind = "oauth2"
        if kind in _BY_TYPE:
            yield _BY_TYPE[kind]


def _of_storage(members: Mapping[str, Any], properties: Mapping[str, Any]) -> Iterator[str]:
    schemes = [scheme for _, scheme in _schemes(members, properties, "storage")]
    free = [scheme for scheme in schemes if scheme.get("requester_pays") is not True]
    pays = members.get("storage:requester_pays", properties.get("storage:requester_pays")) is True
    if pays or (schemes and not free):
        yield 'the requester pays: give storage_options={"requester_pays": True}'
    for scheme in free or schemes:
        host = host_of(str(scheme.get("platform"))) if scheme.get("type") == "custom-s3" else ""
        if _HOST.fullmatch(host):
            yield f'its endpoint is storage_options={{"endpoint_url": "https://{host}"}}'


def _schemes(
    members: Mapping[str, Any], properties: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Iterate over the schemes of an asset: names and members."""
    refs = members.get(f"{prefix}:refs")
    schemes = properties.get(f"{prefix}:schemes")
    for name in refs if isinstance(refs, list) else ():
        scheme = schemes.get(name) if isinstance(schemes, Mapping) else None
        yield str(name), scheme if isinstance(scheme, Mapping) else {}
