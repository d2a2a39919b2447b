"""URLs as they may be shown: without users, passwords and signatures."""

import re
from pathlib import PurePosixPath

# In an Azure URL, what comes before the @ is the container and no user.
_USER = re.compile(r"(?<!abfs://)(?<!abfss://)(?<=://)[^/?#\s]*@")
# The name of a bucket has no colon, unless it is an ARN. A secret may have slashes: all goes, up to the last @.
_USER_OF_STORE = re.compile(r"(?i)\b(s3a?|gs|gcs)://(?:(?!arn:)[^/?#\s@]*:\S*|[^/?#\s]*)@")
_QUERY = re.compile(r"\?[^\s'\"]*")


def without_credentials(text: str) -> str:
    """Return a URL, or a text with URLs in it, without users, passwords and signed queries."""
    return _QUERY.sub("", _USER.sub("", _USER_OF_STORE.sub(r"\1://", text)))


def names_a_user_of_a_store(url: str) -> bool:
    """Tell whether the URL of an object store has a user before its bucket, as a web address may have."""
    return _USER_OF_STORE.search(url) is not None


def stem_of(path: str) -> str:
    """Return the name of the file that a path or URL ends in, without its suffix; safe in names of files and tasks."""
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", PurePosixPath(without_credentials(path)).stem).lstrip(".")[-80:] or "image"
