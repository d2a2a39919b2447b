"""Bearer tokens (RFC 6750)."""

import hashlib
import hmac
import re
from collections.abc import Iterable
from pathlib import Path

from jp2batch.core.errors import ConfigurationError
from jp2batch.service.problems import Unauthorized

VARIABLE = "JP2BATCH_TOKENS"
"""Environment variable of tokens, separated by white space or commas."""

_SHORTEST = 16  # characters


class Tokens:
    """Valid tokens; without tokens, every request is allowed."""

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        self._digests = [_digest(token) for token in tokens]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def check(self, authorization: str) -> None:
        """Refuse a request without a valid token, in constant time.

        Raises
        ------
        Unauthorized
            Tokens are required, and the header has no valid token.
        """
        if not self._digests:
            return
        scheme, _, token = authorization.strip().partition(" ")
        given = _digest(token.strip())
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]  # compare all, for constant time
        if scheme.lower() != "bearer" or not any(matches):
            raise Unauthorized("", "a valid token is required", "send the header Authorization: Bearer <token>")


def load_tokens(file: str | None, variable: str | None) -> Tokens:
    """Return the tokens of a file and of the environment variable.

    The file has a token per line; # begins a comment.

    Raises
    ------
    ConfigurationError
        The file cannot be read or has no token, or a token is too short.
    """
    tokens = re.split(r"[\s,]+", variable.strip()) if variable and variable.strip() else []
    if file is not None:
        try:
            lines = Path(file).read_bytes().decode("utf-8", "surrogateescape").splitlines()
        except OSError as error:
            raise ConfigurationError(file, f"cannot be read: {error}", "check token_file=") from None
        if any("\udc80" <= letter <= "\udcff" for line in lines for letter in line):
            raise ConfigurationError(file, "is not UTF-8", "save it as UTF-8")
        found = [token for line in lines if (token := line.partition("#")[0].strip())]
        if not found:
            raise ConfigurationError(file, "contains no token", "write one token per line")
        tokens += found
    if any(len(token) < _SHORTEST for token in tokens):
        where = file or VARIABLE
        raise ConfigurationError(where, f"a token is shorter than {_SHORTEST} characters", "try: openssl rand -hex 32")
    return Tokens(tokens)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
