"""Storage options of a store, selected from options by scheme."""

from collections.abc import Mapping
from dataclasses import replace

from fsspec.registry import known_implementations

from jp2batch.core.errors import InvalidPath
from jp2batch.core.location import Location
from jp2batch.core.options import SIGN, StorageOptions, inner_options, validate_options, without_signer
from jp2batch.storage.archive_directory import ARCHIVES
from jp2batch.storage.chained_options import by_protocol
from jp2batch.storage.endpoints import validate_characters, validate_endpoint
from jp2batch.storage.file_systems import written_as_url
from jp2batch.storage.known_stores import with_known_options


def locate(url: str | Location, options: StorageOptions) -> Location:
    """Return the location of a path, with its store's options.

    Raises
    ------
    ConfigurationError
        The endpoint of the store is not a URL.
    InvalidPath
        The URL of an object store contains a user. Drivers would read it as part of the bucket's name, and show it.
        Or the path is written as only GDAL takes it, lacks a slash or an archive, or is not valid Unicode.
    InvalidRequest
        The options are not a mapping.
    """
    location = Location.of(url)
    if location.names_a_user_of_a_store:
        hint = "put them into the environment, a profile or storage_options, and take them out of the URL"
        raise InvalidPath(url, "its URL holds credentials", hint)
    if better := "" if location.literal else written_as_url(location.text):
        problem = "that is GDAL's way to write it" if location.text.startswith("/vsi") else "its URL lacks a slash"
        raise InvalidPath(url, problem, f"give {Location.of(better).redacted}")
    if location.scheme in ARCHIVES and not location.is_chained:
        archive, _, member = location.path.partition("!")
        shown = Location.of(f"{location.scheme}://{member.strip('/') or 'member'}::{archive or 'archive'}")
        raise InvalidPath(url, "it names no archive", f"give {shown}")
    complete = replace(location, options=options_for(location, options))
    validate_characters(complete)
    validate_endpoint(complete)
    return complete


def options_for(url: str | Location, options: StorageOptions) -> dict[str, object]:
    """Return the storage options for the store of a path or URL.

    Those of a chain are by protocol. A known store adds those it needs.

    Raises
    ------
    InvalidRequest
        The options are not a mapping; or several protocols of a chain know an option.
    """
    location, given = Location.of(url), validate_options(options)
    if location.is_chained:
        given = by_protocol(location, given)
    elif is_by_protocol(given):
        signer = {name: given[name] for name in (SIGN,) if name in given}
        given = {**signer, **inner_options(given, location.scheme)}
    return with_known_options(location, given)


def is_by_protocol(options: Mapping[str, object]) -> bool:
    """Return whether options are mappings by scheme, beside any signer."""
    own = without_signer(options)
    return bool(own) and all(
        name in known_implementations and isinstance(value, Mapping) for name, value in own.items()
    )
