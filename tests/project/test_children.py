"""What ends a child process, or never ends in it, is told; the next call is served by another one."""

import os
import time
from collections.abc import Iterator

import pytest

from support.children import Child, ChildError, ChildLost


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    with Child(deadline=0.3, memory=1 << 30) as child:
        yield child


def test_values_come_one_by_one(child):
    assert list(child.stream(iter, [1, 2, 3])) == [1, 2, 3]
    assert child.call(max, 3, 5) == 5


def test_an_exception_is_told_with_its_traceback(child):
    with pytest.raises(ChildError, match="invalid literal for int"):
        child.call(int, "x")
    assert child.call(int, "7") == 7


def test_a_crash_is_told_with_its_signal(child):
    with pytest.raises(ChildLost, match="exit code -6") as raised:
        child.call(os.abort)
    assert raised.value.how == "crash"
    assert child.call(int, "7") == 7


@pytest.mark.parametrize("call", [(time.sleep, 600), (pow, 3, 10**9)], ids=["waiting", "computing"])
def test_a_hang_is_told(child, call):
    with pytest.raises(ChildLost) as raised:
        child.call(*call)
    assert raised.value.how == "hang"
    assert child.call(int, "7") == 7


def test_too_much_memory_is_refused(child):
    with pytest.raises(ChildError, match="MemoryError"):
        child.call(bytes, 1 << 31)


def test_what_nobody_takes_ends_the_child(child):
    values = child.stream(iter, range(1000))
    assert next(values) == 0
    values.close()
    assert child.call(int, "7") == 7
