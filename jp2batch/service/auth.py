"""Bearer tokens: who has one may ask (RFC 6750)."""

import hashlib
import hmac
import re
from collections.abc import Iterable
from pathlib import Path

from jp2batch.core.errors import ConfigurationError
from jp2batch.service.problems import Unauthorized

VARIABLE = "JP2BATCH_TOKENS"
"""The environment variable that may hold tokens, separated by white space or commas."""

_SHORTEST = 16


class Tokens:
    """The tokens that are good. Without any, everybody may ask."""

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        self._digests = [_digest(token) for token in tokens]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def check(self, authorization: str) -> None:
        """Refuse a request whose header is not `Bearer` and a good token; how long that takes tells nothing.

        Raises
        ------
        Unauthorized
            There are tokens, and this is none of them.
        """
        if not self._digests:
            return
        scheme, _, token = authorization.strip().partition(" ")
        given = _digest(token.strip())
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]  # all, always
        if scheme.lower() != "bearer" or not any(matches):
            raise Unauthorized("", "a good token is needed", "send the header Authorization: Bearer <token>")


def load_tokens(file: str | None, variable: str | None) -> Tokens:
    """Return the tokens of a file (one a line; # begins a comment) and of the text of the environment variable.

    Raises
    ------
    ConfigurationError
        The file cannot be read, or holds no token, or one is too short to be a secret.
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
            raise ConfigurationError(file, "holds no token", "write one a line")
        tokens += found
    if any(len(token) < _SHORTEST for token in tokens):
        where = file or VARIABLE
        raise ConfigurationError(where, f"a token is shorter than {_SHORTEST} characters", "openssl rand -hex 32")
    return Tokens(tokens)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
