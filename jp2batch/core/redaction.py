"""Redaction: texts, paths and URLs without credentials."""

import re

MARK = "://"
"""The end of a URL's scheme."""

# In an Azure URL, the text before the @ is the container, not a user.
USER = re.compile(r"(?<!az://)(?<!abfs://)(?<!abfss://)(?<=://)[^/?#\s]*@")
"""Users and passwords in URLs, with the @."""
# Only an ARN among bucket names has a colon. A secret may contain slashes: everything up to the last @ is removed.
USER_OF_STORE = re.compile(
    r"(?i)\b(s3a?|gs|gcs)://(?:(?!arn:)[^/?#\s@]*:\S*|[^/?#\s]*)@|\b(az|abfss?)://[^/?#\s@]*:\S*@"
)
"""Users in URLs of object stores, with the scheme."""
# A password may contain "/", "?" and "#". Digits and a slash after a colon are a port.
_PASSWORD = re.compile(r"(?i)\b(https?|ftps?)://(?!\[)[^/?#\s:@]*:(?!\d*(?:[/?#\s]|$))\S*@")
_QUERY = re.compile(r"\?(?!\)?(?:[\s'\"]|$))[^\s'\"]*")  # not the question mark at the end of a sentence
_FRAGMENT = re.compile(r"(?i)\b(https?://[^\s'\"#]*)#[^\s'\"]*")
_REST = re.compile(r"[?\uff1f].*?(?=::[A-Za-z][A-Za-z0-9+.-]*://|$)", re.DOTALL)  # a link's query, to its end
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f]")  # they may split credentials and hide them from the patterns
# Parameters of signatures, also in a path or encoded; parts of Azure's connection strings; tokens.
_PARAMETER = re.compile(
    r"(?i)(?:(?<![a-z0-9])|(?<=3f)|(?<=26)|(?<=3b))(sig|signature|x-(?:amz|goog)-[a-z-]+|awsaccesskeyid|googleaccessid|key-pair-id"
    r"|(?:access_|sas_)token)(=|%(?:25)*3d)[^\s&;/?'\"<>]+"
)
_PART = re.compile(r"(?i)\b(AccountKey|SharedAccess(?:Key|Signature))=[^\s;'\"]+")
_BEARER = re.compile(r"(?i)\b(bearer|authorization: *basic) +[^\s;'\"]+")
# A URL without its scheme or a slash, which is taken for a local path.
_ALMOST_URL = re.compile(r"(?i)^(?:[a-z][a-z0-9+.-]+:[/\\]*\S*|[^/\\\s:@]+:[^/\\\s@]+)@")
_PLAIN = re.compile(r"[A-Za-z0-9_.,+~:/-]*")  # of most paths: the patterns take longer


def redact(text: str) -> str:
    """Return a text without users, passwords, queries and signatures."""
    if _PLAIN.fullmatch(text):
        return text
    return _without_parameters(_FRAGMENT.sub(r"\1", _QUERY.sub("", _without_users(text))))


def redact_path(path: str) -> str:
    """Return a path or URL without credentials, for messages.

    Of a URL with control characters, only the scheme is shown.
    """
    if _PLAIN.fullmatch(path):
        return path
    scheme, mark, _ = path.partition(MARK)
    if not mark:
        return _without_parameters(_ALMOST_URL.sub("…@", path))
    return f"{scheme}{mark}…" if _CONTROL.search(path) else redact(_REST.sub("", _without_users(path)))


def _without_users(text: str) -> str:
    """Return a text without users and passwords in its URLs."""
    if "@" not in text:
        return text
    return USER.sub("", _PASSWORD.sub(rf"\1{MARK}", USER_OF_STORE.sub(rf"\1\2{MARK}", text)))


def _without_parameters(text: str) -> str:
    """Return a text without signatures among its words and parameters."""
    return _BEARER.sub(r"\1 …", _PART.sub(r"\1=…", _PARAMETER.sub(r"\1\2…", text)))
