"""Input as messages may show it: URLs without users, passwords and signatures; of what is not checked, its type."""

import re
from pathlib import Path, PurePosixPath

# In an Azure URL, what comes before the @ is the container and no user.
_USER = re.compile(r"(?<!abfs://)(?<!abfss://)(?<=://)[^/?#\s]*@")
# The name of a bucket has no colon, unless it is an ARN. A secret may have slashes: all goes, up to the last @.
_USER_OF_STORE = re.compile(r"(?i)\b(s3a?|gs|gcs)://(?:(?!arn:)[^/?#\s@]*:\S*|[^/?#\s]*)@")
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f]")  # which may part credentials, so that they are not found
_QUERY = re.compile(r"\?[^\s'\"]*")


def without_credentials(text: str) -> str:
    """Return a URL, or a text with URLs in it, without users, passwords and signed queries."""
    return _QUERY.sub("", _USER.sub("", _USER_OF_STORE.sub(r"\1://", text)))


def shown(path: str) -> str:
    """Return a path or URL as messages may show it; of a URL with control characters, its protocol alone."""
    protocol, mark, _ = path.partition("://")
    if not mark:
        return path
    return f"{protocol}://…" if _CONTROL.search(path) else without_credentials(path)


def described(value: object) -> str:
    """Return a number as it is, and of all else its type: unchecked input may hold credentials."""
    if value is not None and not isinstance(value, bool | int | float):
        return f"of type {type(value).__name__}"
    try:
        return repr(value)
    except ValueError:  # of more digits than Python writes
        return "of too many digits"


def names_a_user_of_a_store(url: str) -> bool:
    """Tell whether the URL of an object store has a user before its bucket, as a web address may have."""
    return _USER_OF_STORE.search(url) is not None


def stem_of(path: str) -> str:
    """Return the name of the file that a path or URL ends in, without its suffix; safe in names of files and tasks."""
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", PurePosixPath(without_credentials(path)).stem).lstrip(".")[-80:] or "image"


def absolute(url: str, folder: str) -> str:
    """Return a URL as it is, and a relative path as one from `folder`."""
    return url if "://" in url or "::" in url or url.startswith("~") else str(Path(folder, url))
