"""Storage options of fsspec, for a store or by scheme."""

from collections.abc import Mapping

from jp2batch.core.errors import InvalidRequest

StorageOptions = Mapping[str, object] | None
"""fsspec's options for a store: credentials, endpoint, …

For several stores: mappings of options by scheme.
"""


def validate_options(options: object) -> dict[str, object]:
    """Return storage options as a dict.

    Raises
    ------
    InvalidRequest
        The options are not a mapping.
    """
    if options is not None and not isinstance(options, Mapping):
        problem = f"storage_options are of type {type(options).__name__}"  # their content may be secret
        raise InvalidRequest("", problem, 'give a mapping, as {"anon": True}')
    return dict(options or {})


def inner_options(options: Mapping[str, object], name: str) -> Mapping[str, object]:
    """Return the mapping in an option, such as "client_kwargs", or empty."""
    inner = options.get(name)
    return inner if isinstance(inner, Mapping) else {}


class SecretDict(dict[str, object]):
    """A dict whose repr hides its values.

    A scheduler logs the arguments of failed tasks.
    """

    def __repr__(self) -> str:
        return "{…}"
