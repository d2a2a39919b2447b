"""URLs as they may be shown: without users, passwords and signatures."""

import re
from pathlib import PurePosixPath

# In an Azure URL, what comes before the @ is the container and no user.
_USER = re.compile(r"(?<!abfs://)(?<!abfss://)(?<=://)[^/?#\s]*@")
_QUERY = re.compile(r"\?[^\s'\"]*")


def without_credentials(text: str) -> str:
    """Return a URL, or a text with URLs in it, without users, passwords and signed queries."""
    return _QUERY.sub("", _USER.sub("", text))


def stem_of(path: str) -> str:
    """Return the name of the file that a path or URL ends in, without its suffix; safe in names of files and tasks."""
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", PurePosixPath(without_credentials(path)).stem).lstrip(".")[-80:] or "image"
