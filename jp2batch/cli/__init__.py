"""The command line: parses, calls, prints, exits.

Data goes to stdout, messages to stderr. Exit codes: 0 all well, 1 something failed, 2 wrong usage, 3 could not start,
130 interrupted.
"""

import errno
import re
import sys
from typing import Any

import click

from jp2batch.cli import batch_commands, extract_command, image_commands, serve_command, tool_commands
from jp2batch.cli.messages import complain, say
from jp2batch.cli.options import FAILED, INTERRUPTED, NOT_STARTED, USAGE
from jp2batch.core.errors import ConfigurationError, InvalidRequest, Jp2BatchError, ManifestError
from jp2batch.core.redaction import redact
from jp2batch.core.version import __version__

_ARGUMENTS = "jp2batch.arguments"


class _Group(click.Group):
    """Print errors as single lines and turn them into exit codes."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the arguments, to remove them from click's error messages."""
        ctx.meta[_ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Parse the arguments; --help and --version may find stdout full."""
        try:
            return super().make_context(*args, **options)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            say(_of_system(error))
            sys.exit(FAILED)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ManifestError as error:
            say(error.all_rows)
            ctx.exit(USAGE)
        except click.UsageError as error:
            text = _without_values(error, ctx.meta[_ARGUMENTS])
            if text == error.format_message():
                raise
            raise click.UsageError(text, error.ctx) from None
        except Jp2BatchError as error:
            complain(error)
            ctx.exit(_exit_code(error))
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # the reader of stdout is gone, as after `| head`; click exits quietly
            say(_of_system(error))
            ctx.exit(FAILED)
        except KeyboardInterrupt:
            say("interrupted")
            ctx.exit(INTERRUPTED)


def _of_system(error: OSError) -> str:
    return redact(f"{error.filename or 'system'}: {error.strerror or error}")


def _without_values(error: click.UsageError, arguments: list[str]) -> str:
    """Return click's message without option values and without credentials in URLs."""
    text = error.format_message()
    if isinstance(error, click.BadParameter):
        names = re.compile(r"--?[a-z][a-z-]*")
        given = {value for one in arguments for value in (one, one.partition("=")[2])} - {""}
        given = {value for value in given if not names.fullmatch(value)}
        for value in sorted(given, key=len, reverse=True):
            text = text.replace(f"'{value}'", "'…'").replace(repr(value), "'…'")
    return redact(text)


def _exit_code(error: Jp2BatchError) -> int:
    if isinstance(error, InvalidRequest):
        return USAGE
    return NOT_STARTED if isinstance(error, ConfigurationError) else FAILED


@click.group("jp2batch", cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="jp2batch")
def main() -> None:
    """Read Sentinel-2 JPEG 2000 images, fetching only the bytes they need.

    \b
    Examples:
      jp2batch info scene.jp2
      jp2batch plan s3://bucket/B04.jp2 --no-sign-request
      jp2batch read https://host/B04.jp2 --rlevel 2 -o b04.tif

    Data goes to stdout, messages to stderr. Exit codes: 0 all well, 1 something failed, 2 wrong usage, 3 could not
    start, 130 interrupted.
    """


for _command in (
    image_commands.info,
    image_commands.plan,
    image_commands.read,
    batch_commands.run,
    extract_command.extract,
    batch_commands.index,
    batch_commands.demo,
    serve_command.serve,
    tool_commands.sample,
    tool_commands.manifest,
    tool_commands.doctor,
):
    main.add_command(_command)
