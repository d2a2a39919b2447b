"""Storage options of fsspec, for a store or by scheme."""

from collections.abc import Callable, Mapping
from typing import Any, Self

from jp2batch.core.errors import InvalidRequest

StorageOptions = Mapping[str, object] | None
"""fsspec's options for a store: credentials, endpoint, …

For several stores: mappings of options by scheme.
"""


SIGN = "sign"
"""Storage option with a function that signs links.

It belongs to this package; drivers do not get it.
"""


class Signer:
    """A function from a URL to its signed URL, for workers too.

    Neither its repr nor its token depends on its content, which may be secret.
    """

    def __init__(self, sign: Callable[[str], object]) -> None:
        self._sign = sign

    def __call__(self, url: str) -> object:
        """Return the function's value for a URL."""
        return self._sign(url)

    def __repr__(self) -> str:
        return "Signer(…)"

    def __dask_tokenize__(self) -> str:
        return "Signer"

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled_signer, (self._pickled(),)

    def _pickled(self) -> bytes:
        import cloudpickle

        try:
            data: bytes = cloudpickle.dumps(self._sign)
        except Exception as error:  # noqa: BLE001  # of any object the function uses
            kind = type(error).__name__
        else:
            return data
        hint = "let it make its clients and locks when it is called, or name it in jp2batch.signers"
        raise InvalidRequest("", f"storage_options: {SIGN} cannot be pickled for workers ({kind})", hint)


def _unpickled_signer(data: bytes) -> Signer:
    import cloudpickle

    return Signer(cloudpickle.loads(data))


def validate_options(options: object) -> dict[str, object]:
    """Return storage options as a dict, with a signer as `Signer`.

    Raises
    ------
    InvalidRequest
        The options are not a mapping, or their signer is not a function.
    """
    if options is not None and not isinstance(options, Mapping):
        problem = f"storage_options are of type {type(options).__name__}"  # their content may be secret
        raise InvalidRequest("", problem, 'give a mapping, as {"anon": True}')
    valid = dict(options or {})
    for name, value in valid.items():
        if name == SIGN:
            valid[name] = _signer(value)
        elif isinstance(value, Mapping) and SIGN in value:  # of a single protocol
            valid[name] = {**value, SIGN: _signer(value[SIGN])}
    return valid


def _signer(value: object) -> Signer | None:
    if value is None or isinstance(value, Signer):
        return value
    if not callable(value):
        problem = f"storage_options: {SIGN} is of type {type(value).__name__}"
        raise InvalidRequest("", problem, "give a function from a URL to its signed URL")
    return Signer(value)


def validate_for_workers(options: Mapping[str, object]) -> None:
    """Refuse an unpicklable signer.

    Raises
    ------
    InvalidRequest
        A signer uses an object that cannot be pickled.
    """
    for part in (options, *options.values()):
        if isinstance(part, Mapping) and isinstance(signer := part.get(SIGN), Signer):
            signer.__reduce__()


def without_signer(options: Mapping[str, object]) -> dict[str, object]:
    """Return storage options for drivers: without a signer."""
    return {
        name: without_signer(value) if isinstance(value, Mapping) and SIGN in value else value
        for name, value in options.items()
        if name != SIGN
    }


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

    @classmethod
    def of(cls, options: StorageOptions) -> Self:
        """Return valid storage options; see `validate_options`."""
        return cls(validate_options(options))
