"""The tables of stores in docs/reading.md."""

import json
from collections.abc import Iterable
from pathlib import Path

from jp2batch.core import config
from jp2batch.storage.schemes import SCHEMES, SchemeInfo

ROOT = Path(__file__).resolve().parents[1]


def reading() -> str:
    """Return docs/reading.md with the present tables of stores."""
    text = (ROOT / "docs/reading.md").read_text(encoding="utf-8")
    text = _replaced(text, "stores", "| URL | store | driver | flags |", map(_scheme, SCHEMES))
    known = config.DEFAULTS["jp2batch"]["known-stores"]
    head = "| store | options that it gets | what a refusal says |"
    return _replaced(text, "known stores", head, (_known(url, row) for url, row in known.items()))


def _replaced(text: str, name: str, head: str, lines: Iterable[str]) -> str:
    """Return a text with another table between the marks of a name."""
    before, mark, rest = text.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->")
    return "\n".join([f"{before}{mark}", head, "|---" * (head.count("|") - 1) + "|", *lines, "", f"{end}{after}"])


def _scheme(row: SchemeInfo) -> str:
    urls = ", ".join(f"`{name}://`" for name in row.names)
    flags = ", ".join(f"`--{name.replace('_', '-')}`" for name in row.flags)
    driver = f"`{row.install}`" if row.extra else ""
    return f"| {urls} | {row.title} | {driver} | {flags} |"


def _known(url: str, row: dict[str, object]) -> str:
    options = row.get("options")
    return f"| `{url}` | {f'`{json.dumps(options)}`' if options else ''} | {row['about']} |"
