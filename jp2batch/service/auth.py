"""Bearer tokens (RFC 6750)."""

import hashlib
import hmac
from pathlib import Path

from jp2batch.core.errors import ConfigurationError
from jp2batch.service.problems import Unauthorized

VARIABLE = "JP2BATCH_TOKENS"
"""Environment variable of tokens, separated by white space or commas."""

_SHORTEST = 16  # characters


class Tokens:
    """Valid tokens; without tokens, every request is allowed.

    Parameters
    ----------
    file : str, optional
        File with a token per line; # begins a comment.
    variable : str, optional
        Value of the environment variable.

    Raises
    ------
    ConfigurationError
        The file cannot be read or has no token, or a token is too short.
    """

    def __init__(self, file: str | None = None, variable: str | None = None) -> None:
        self._file, self._variable = file, variable
        self.reload()

    def __bool__(self) -> bool:
        return bool(self._digests)

    def reload(self) -> None:
        """Read the file again; after an error, the tokens stay."""
        tokens = (self._variable or "").replace(",", " ").split()
        if self._file is not None:
            tokens += _tokens_in(self._file)
        if any(len(token) < _SHORTEST for token in tokens):
            problem = f"a token is shorter than {_SHORTEST} characters"
            raise ConfigurationError(self._file or VARIABLE, problem, "try: openssl rand -hex 32")
        self._digests = [_digest(token) for token in tokens]

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


def _tokens_in(file: str) -> list[str]:
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(file, f"cannot be read: {error}", "check token_file=") from None
    tokens = [token for line in lines if (token := line.partition("#")[0].strip())]
    if not tokens:
        raise ConfigurationError(file, "contains no token", "write one token per line")
    return tokens


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
