"""Print messages to stderr and data to stdout; parameters become flags."""

import json
import re
from typing import Protocol

import click

from jp2batch.cli.storage_flags import options_in_flags
from jp2batch.core.errors import Jp2BatchError

_ALIASES = {"client": "scheduler"}
"""Parameters whose flag has another name."""


class _Described(Protocol):
    """A value with a JSON-compatible dict of its fields."""

    def to_dict(self) -> dict[str, object]: ...


def say(text: str) -> None:
    """Print a message to stderr."""
    click.echo(f"jp2batch: {text}", err=True)


def complain(error: Jp2BatchError, more: str = "") -> None:
    """Print an error to stderr, with flags instead of parameters."""
    error = Jp2BatchError(error.path, in_flags(error.problem), in_flags(error.hint))
    say(f"{error}{more}")


def show(value: _Described, as_json: bool) -> None:
    """Print a value to stdout, as text or as JSON."""
    click.echo(json.dumps(value.to_dict(), allow_nan=False) if as_json else str(value))


def in_flags(text: str) -> str:
    """Return a message with the command's flags instead of parameters."""
    options = [option for option in _command().params if isinstance(option, click.Option) and option.name]
    flags = {str(option.name): option.opts[-1] for option in options}
    flags |= {alias: flags[name] for alias, name in _ALIASES.items() if name in flags}
    words = [f"{name}(?:=|\\b)" if "_" in name else f"{name}=" for name in flags]  # "workers" alone is a plain word

    def flag(match: re.Match[str]) -> str:
        follows = match.string[match.end() : match.end() + 1]
        has_value = match[1].endswith("=") and not match[2] and follows.strip(" ,")
        return flags[match[1].rstrip("=")] + (" " if has_value else "")

    return re.sub(rf"\b({'|'.join(words)})(True\b)?", flag, options_in_flags(text)) if flags else text


def _command() -> click.Command:
    """Return the running or just failed command."""
    context = click.get_current_context()
    command = context.command
    return command.commands[str(context.invoked_subcommand)] if isinstance(command, click.Group) else command
