"""Errors of the output: the run cannot start, or ends."""

import contextlib
import errno
from collections.abc import Iterator

from jp2batch.core.errors import Jp2BatchError, OutputError, StorageError


@contextlib.contextmanager
def preparing(output: str) -> Iterator[None]:
    """Raise StorageError if preparing the output fails."""
    try:
        yield
    except OutputError as error:
        raise StorageError(*error.args) from None
    except Jp2BatchError:
        raise
    except OSError as error:
        raise _refused(output, error, StorageError) from None


@contextlib.contextmanager
def storing(output: str) -> Iterator[None]:
    """Raise OutputError if storing results or records fails."""
    try:
        yield
    except Jp2BatchError:
        raise
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise  # the reader of stdout is gone
        raise _refused(output, error, OutputError) from None


def _refused(output: str, error: OSError, kind: type[StorageError]) -> StorageError:
    name = str(error.filename or "the standard output") if output == "-" else output
    return kind(name, f"cannot be written: {error.strerror or error}", "check path, permissions and disk space")
