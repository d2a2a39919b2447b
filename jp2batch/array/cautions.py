"""Warn about lines of the user."""

import sys
import warnings


def warn_user(text: str) -> None:
    """Warn about the line outside the package."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("jp2batch."):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, UserWarning, stacklevel=level)
