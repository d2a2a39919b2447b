"""Flags: known in cli/ only, each with its parameter, and named by messages of the command line."""

import ast
import importlib.util
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from jp2batch.cli import main
from jp2batch.cli.messages import in_flags

PACKAGE = Path(__file__).resolve().parents[2] / "jp2batch"
FLAG = re.compile(r"(?<![\w-])--[a-z]")
COLLECTED = {"area", "engine", "storage"}
"""Parameters that a decorator makes of several flags."""


def texts(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_only_the_command_line_knows_flags(path):
    if "cli" not in path.relative_to(PACKAGE).parts:
        assert [text for text in texts(path) if FLAG.search(text)] == []


def parameters(function: Callable[..., object] | None) -> Iterator[inspect.Parameter]:
    """Iterate over the parameters of a function, and of all functions that it wraps."""
    while function is not None:
        yield from inspect.signature(function, follow_wrapped=False).parameters.values()
        function = getattr(function, "__wrapped__", None)


@pytest.mark.parametrize("name", sorted(main.commands))
def test_each_flag_has_its_parameter(name):
    command = main.commands[name]
    named = {each.name for each in parameters(command.callback) if each.kind is not each.VAR_KEYWORD}
    assert {option.name for option in command.params} == named - COLLECTED


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("run", "leave out retry_failed=True", "leave out --retry-failed"),
        ("run", "workers= means nothing with client=", "--workers means nothing with --scheduler"),
        ("serve", "give another address=, port= or unix_socket=", "give another --address, --port or --unix-socket"),
        ("serve", "keyfile= means nothing without certfile=", "--keyfile means nothing without --certfile"),
        ("info", 'leave out storage_options={"anon": True}', "leave out --no-sign-request"),
        ("info", 'public: storage_options={"token": "anon"}', "public: --no-sign-request"),
        ("info", 'storage_options={"requester_pays": True}; pay', "--request-payer requester; pay"),
        ("info", 'storage_options={"endpoint_url": "https://x"}, with', "--endpoint-url https://x, with"),
        ("info", 'give "headers" in storage_options', 'give "headers" in --storage-options'),
        ("sample", "no size here", "no size here"),
    ],
)
def test_parameters_become_flags(name, text, expected):
    with click.Context(main.commands[name]):
        assert in_flags(text) == expected


# A flag without its parameter


def complaints(folder: Path, code: str) -> str:
    """Return the complaints of mypy about the commands for batches, with the options that they fill in."""
    command = folder / "batch_commands.py"
    command.write_text(code, encoding="utf-8")
    options = ["cli/options.py", "cli/storage_flags.py", "batch/options.py", "compute/engine.py"]
    files = [str(command), *(str(PACKAGE / name) for name in options)]
    mypy = [sys.executable, "-m", "mypy", "--follow-imports=skip", "--ignore-missing-imports"]
    mypy += ["--cache-dir", str(folder), "--config-file", os.devnull, "--explicit-package-bases"]
    return subprocess.run([*mypy, *files], capture_output=True, text=True, cwd=PACKAGE.parent, check=False).stdout


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
@pytest.mark.parametrize(
    ("known", "added", "complaint"),
    [
        ("resume=resume,", "resume=resume, careful=careful,", 'Unexpected keyword argument "careful" for "RunOptions"'),
        (
            "local_threads=local_threads)",
            "local_threads=local_threads, careful=careful)",
            'Unexpected keyword argument "careful" for "engine_options"',
        ),
    ],
)
def test_a_flag_without_its_parameter_fails_mypy(known, added, complaint, tmp_path):
    code = (PACKAGE / "cli/batch_commands.py").read_text(encoding="utf-8")
    flag = code.replace("    resume: bool,\n", "    resume: bool,\n    careful: bool,\n", 1)
    assert complaints(tmp_path, flag).startswith("Success")
    assert complaint in complaints(tmp_path, flag.replace(known, added, 1))
