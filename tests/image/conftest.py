"""Processes that read generated files."""

from collections.abc import Iterator

import pytest
from long_exactness import Workshops


@pytest.fixture(scope="module")
def workshops() -> Iterator[Workshops]:
    """Return processes that make variants and mutations, read them, and judge."""
    with Workshops() as workshops:
        yield workshops
