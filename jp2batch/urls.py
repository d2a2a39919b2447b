"""What may be shown of a URL."""

import re

__all__ = ["without_credentials"]

# In an Azure URL, what comes before the @ is the container and no user.
_USER = re.compile(r"(?<!abfs://)(?<!abfss://)(?<=://)[^/?#\s]*@")
_QUERY = re.compile(r"\?[^\s'\"]*")


def without_credentials(text: str) -> str:
    """Return a URL, or a text with URLs in it, without users, passwords and signed queries."""
    return _QUERY.sub("", _USER.sub("", text))
