"""Make OpenJPEG crash on images of 61 rows, and hang on 62 rows.

With PAUSE=seconds, each decode takes longer; with LEASE=seconds, leases expire sooner.

They stand for files that do so for real.

Python imports it at the start of each process that has this folder in PYTHONPATH: the run, its workers, their children.
"""

import os
import signal
import time
from typing import Any

from jp2batch.image import openjpeg

DEADLY, ENDLESS = 61, 62
PAUSE = float(os.environ.get("PAUSE", "0"))

_decode = openjpeg.decode


def decode(data: Any, target: Any, **options: Any) -> Any:
    """Decode, unless the image is one of these."""
    if target.shape[-2] == DEADLY:
        os.kill(os.getpid(), signal.SIGSEGV)
    if target.shape[-2] == ENDLESS:
        time.sleep(600)
    time.sleep(PAUSE)
    return _decode(data, target, **options)


openjpeg.decode = decode

if "LEASE" in os.environ:
    from jp2batch.batch.state import lease

    lease._EXPIRY = float(os.environ["LEASE"])
    lease._EVERY, lease._GLANCE = lease._EXPIRY / 6, lease._EXPIRY / 30
