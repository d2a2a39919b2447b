"""The table of stores in docs/reading.md, from `jp2batch.storage.schemes`."""

from pathlib import Path

from jp2batch.storage.schemes import SCHEMES, SchemeInfo

ROOT = Path(__file__).resolve().parents[1]


def reading() -> str:
    """Return docs/reading.md with the present table of stores."""
    text = (ROOT / "docs/reading.md").read_text(encoding="utf-8")
    before, mark, rest = text.partition("<!-- stores -->\n")
    _, end, after = rest.partition("<!-- end of stores -->")
    lines = ["| URL | store | driver | flags |", "|---|---|---|---|", *map(_line, SCHEMES)]
    return "\n".join([f"{before}{mark}", *lines, "", f"{end}{after}"])


def _line(row: SchemeInfo) -> str:
    urls = ", ".join(f"`{name}://`" for name in row.names)
    flags = ", ".join(f"`--{name.replace('_', '-')}`" for name in row.flags)
    driver = f"`{row.install}`" if row.extra else ""
    return f"| {urls} | {row.title} | {driver} | {flags} |"
