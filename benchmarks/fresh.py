"""Call a function in a new process with an empty cache folder."""

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any, TypeVar

from benchmarks import ROOT

T = TypeVar("T")


def in_fresh_process(function: Callable[..., T], *args: Any) -> T:
    """Call a function of a module in a new process; return its value.

    Raises
    ------
    RuntimeError
        The process failed; its last words are in the text.
    """
    with tempfile.TemporaryDirectory(prefix="jp2batch-cache-") as cache:
        done = subprocess.run(
            [sys.executable, "-c", "from benchmarks.fresh import main; main()"],
            cwd=ROOT,
            env=os.environ | {"XDG_CACHE_HOME": cache},
            input=pickle.dumps((function, args)),
            capture_output=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"{function.__name__} failed:\n{done.stderr.decode('utf-8', 'replace')[-3000:]}")
    result: T = pickle.loads(done.stdout)  # noqa: S301  # our own child
    return result


def main() -> None:
    """Call the function named on stdin; write its value to stdout."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not mix with the result
    function, args = pickle.load(sys.stdin.buffer)  # noqa: S301  # from our own parent
    with output:
        pickle.dump(function(*args), output)
