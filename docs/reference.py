"""Generate the reference pages from help texts, docstrings and the commented configuration."""

import ast
import inspect
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import yaml

import jp2batch
from jp2batch.array.accessor import Jp2Accessor
from jp2batch.cli import main
from jp2batch.core import errors

_WIDTH = 100  # of help texts
_PACKAGE = Path(jp2batch.__file__).parent
_SECTION = re.compile(r"^(Parameters|Returns|Yields|Raises|Warns|Notes|Examples)\n-+\n", re.MULTILINE)
_FAMILIES = {
    "One image": ("read", "open", "inspect", "plan", "respond"),
    "Products and cubes": ("open_product", "open_cube"),
    "Virtual Zarr": ("write_references", "Jp2Parser"),
    "Fields": ("extract",),
    "Many images": ("run", "run_to", "as_completed", "to_delayed", "read_manifest", "iter_manifest", "list_requests"),
    "Values": (
        "Request",
        "Window",
        "Result",
        "BatchReport",
        "BatchSummary",
        "BatchInterrupted",
        "ImageInfo",
        "ReadPlan",
    ),
}
"""Public names by section; others follow."""


def command_line() -> str:
    """Return the page of the command line: the help of each command."""
    parts = ["# Command line", "", "`jp2batch` without a command, and each of its commands, with `--help`.", ""]
    parts += [f"- [{name}](#jp2batch-{name})" for name in main.commands]
    for name, command in {"": main, **main.commands}.items():
        words = f"jp2batch {name}".strip()
        settings = {**main.context_settings, "terminal_width": _WIDTH, "max_content_width": _WIDTH}
        context = click.Context(command, info_name=words, **settings)
        parts += ["", f"## {words}", "", "```text", command.get_help(context), "```"]
    return "\n".join([*parts, ""])


def configuration() -> str:
    """Return the page of the configuration: each value, its default, and what its comment says."""
    told, text = (_PACKAGE / "jp2batch.yaml").read_text(encoding="utf-8").split("\njp2batch:\n")
    parts = [
        "# Configuration",
        "",
        f"{told.lstrip('# ').partition('. ')[0]}; they are part of dask's configuration.",
        "",
        _HOW,
        "",
    ]
    for key, comment, value in _values(text):
        variable = f"DASK_JP2BATCH__{key.replace('-', '_').upper()}"
        variable += "__…" * isinstance(yaml.safe_load(value)[key], dict)
        parts += [f"## jp2batch.{key}", "", comment, "", "```yaml", value, "```", "", f"Variable: `{variable}`", ""]
    return "\n".join(parts)


_HOW = """Put changed values into a file in `~/.config/dask`, e.g. `jp2batch.yaml`, in the format of the defaults below:

```yaml
jp2batch:
  max-result: 8 GiB
  retries: {attempts: 8}
```

Or set environment variables: `DASK_JP2BATCH__MAX_RESULT="8 GiB"`, `DASK_JP2BATCH__RETRIES__ATTEMPTS=8`. Or set values
for a part of a program:

```python
import dask, glob, jp2batch

path = glob.glob("scenes/**/*_B08_10m.jp2", recursive=True)[0]
with dask.config.set({"jp2batch.max-result": "8 GiB", "jp2batch.threads": 2}):
    image = jp2batch.read(path)
```

Sizes are text such as `64 MiB` or `60 MB`, durations such as `200ms` or `10 minutes`; plain numbers are bytes and
seconds. Workers of a cluster use the configuration of the client. Do not put secrets here: pass them in
`storage_options`, or use the files and variables of AWS, Google and others.
`jp2batch doctor` lists all values that differ from the defaults."""


def _values(text: str) -> Iterator[tuple[str, str, str]]:
    """Iterate over the values of the configuration: key, comment, text in YAML."""
    for comment, entry in re.findall(r"((?:^  #.*\n)+)((?:^  [^#\n ].*\n)(?:^   .*\n)*)", text, re.MULTILINE):
        plain = "\n".join(line[2:] for line in entry.rstrip().splitlines())
        (key,) = yaml.safe_load(plain)
        yield key, " ".join(line.lstrip("# ") for line in comment.splitlines()), plain


def python() -> str:
    """Return the page of the public names: signatures and docstrings."""
    placed = [name for names in _FAMILIES.values() for name in names]
    others = [name for name in jp2batch.__all__ if name not in placed and name != "Jp2BatchError"]
    families = {family: [name for name in names if name in jp2batch.__all__] for family, names in _FAMILIES.items()}
    parts = ["# Python", "", "The public names of `import jp2batch`. All others are internal and can change.", ""]
    for family, names in (families | ({"More": others} if others else {})).items():
        parts += [f"## {family}", ""]
        for name in names:
            thing = getattr(jp2batch, name)
            parts += _class(name, thing) if inspect.isclass(thing) else _function(name, thing)
    return "\n".join([*parts, *_accessor(), *_errors()])


def _accessor() -> Iterator[str]:
    """Iterate over the lines about what arrays have."""
    yield from ["## Arrays", "", _ACCESSOR, ""]
    for name, method in vars(Jp2Accessor).items():
        if not name.startswith("_"):
            shown = f"DataArray.jp2.{name}"
            yield from [f"### {shown}", "", "```py", _signature(shown, method), "```", "", *_docstring(method), ""]


_ACCESSOR = """Methods of every `xarray.DataArray`, once jp2batch has returned an array. For arrays from elsewhere, e.g.
from a Zarr store, run `import jp2batch.accessor` first."""


def _function(name: str, thing: Any) -> list[str]:
    return [f"### {name}", "", "```py", _signature(f"jp2batch.{name}", thing), "```", "", *_docstring(thing), ""]


def _signature(name: str, thing: Any) -> str:
    """Return a signature as it stands in the source, without what is written for linters."""
    source = re.sub(r"  # .*$", "", inspect.cleandoc(inspect.getsource(thing)), flags=re.MULTILINE)
    found = re.search(r"^def \w+(\(.*?\)(?: -> .*?)?):$", source, re.MULTILINE | re.DOTALL)
    assert found is not None, name
    plain = re.sub(r'(: |-> )"([^"]+)"', r"\1\2", found[1])  # types that are imported for checks only
    return name + re.sub(r"\((?:self|cls)(?:, )?", "(", plain, count=1)


def _docstring(thing: Any) -> list[str]:
    """Return a docstring of numpy's style as Markdown."""
    first, *sections = _SECTION.split(inspect.getdoc(thing) or "")
    parts = [first.strip()]
    for title, text in zip(sections[::2], sections[1::2], strict=True):
        parts += ["", f"**{title}**", "", *_items(text)]
    return parts


def _items(text: str) -> Iterator[str]:
    """Iterate over the entries of a section, as a list."""
    for entry in re.split(r"\n(?=\S)", text.strip()):
        head, *told = entry.splitlines()
        name, _, kind = head.partition(" : ")
        explained = " ".join(line.strip() for line in told)
        yield f"- `{name}`{f' ({kind})' if kind else ''}{f': {explained}' if explained else ''}"


def _class(name: str, thing: type) -> list[str]:
    """Return a class: what it is, its fields, its properties and methods."""
    parts = [f"### {name}", "", *_docstring(thing), "", "**Fields**", ""]
    parts += [f"- `{field}` (`{kind}`): {told}" for field, kind, told in _fields(thing)]
    parts += [
        f"- `{other}` (property): {told[0]}"
        for other, value in vars(thing).items()
        if isinstance(value, property) and (told := (inspect.getdoc(value) or "").splitlines())
    ]
    parts.append("")
    for other, value in vars(thing).items():
        method = getattr(value, "__func__", value)
        if inspect.isfunction(method) and not other.startswith("_"):
            parts += ["```py", _signature(f"{name}.{other}", method), "```", "", *_docstring(method), ""]
    return parts


def _fields(thing: type) -> Iterator[tuple[str, str, str]]:
    """Iterate over the fields of a dataclass: name, type, and the text below."""
    (tree,) = ast.parse(inspect.getsource(thing)).body
    assert isinstance(tree, ast.ClassDef)
    for field, below in pairwise(tree.body):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            told = " ".join(line.strip() for line in str(below.value.value).splitlines())
            yield ast.unparse(field.target), ast.unparse(field.annotation).replace("'", ""), told


def _errors() -> Iterator[str]:
    """Iterate over the lines about errors."""
    yield from ["## Errors", "", "### Jp2BatchError", "", *_docstring(jp2batch.Jp2BatchError), ""]
    yield from ["All others derive from it, and are in `jp2batch.core.errors`:", ""]
    yield from ["| error | meaning | retryable |", "|---|---|---|"]
    for name, error in sorted(vars(errors).items()):
        if (
            isinstance(error, type)
            and issubclass(error, jp2batch.Jp2BatchError)
            and error is not jp2batch.Jp2BatchError
        ):
            told = " ".join((inspect.getdoc(error) or "").split("\n\n")[0].split())
            yield f"| `{name}` | {told} | {'yes' if error.retryable else 'no'} |"
    yield ""
