"""The runtime: state is made once, by one thread, for one process."""

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from jp2batch.core.runtime import Runtime, fresh_runtime, is_forked, process_state, uninterrupted_by_fork
from support.forking import fork_and_do, held_by_a_thread

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")


def test_state_is_made_once_for_its_arguments():
    @process_state()
    def state(name: str, count: int) -> list[object]:
        return [name, count]

    assert state("a", 1) == ["a", 1]
    assert state("a", 1) is state("a", 1)
    assert state("a", 1) is not state("a", 2)


def test_functions_do_not_share_state():
    one, other = process_state()(list), process_state()(list)
    assert one() is not other()


def test_it_keeps_name_and_docstring_of_the_function():
    @process_state()
    def state() -> object:
        """Return it."""

    assert (state.__name__, state.__doc__) == ("state", "Return it.")
    with pytest.raises(TypeError, match="name"):
        state(name="a")  # type: ignore[call-arg]


def test_threads_wait_for_the_one_that_makes_it():
    made, begun, end = [], threading.Event(), threading.Event()

    @process_state()
    def state() -> object:
        made.append(1)
        begun.set()
        assert end.wait(10)
        return object()

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(state) for _ in range(8)]
        assert begun.wait(10)
        assert not any(future.done() for future in futures)
        end.set()
        assert len({future.result(10) for future in futures}) == len(made) == 1


def test_what_is_made_slowly_hinders_nothing_else():
    begun, end = threading.Event(), threading.Event()

    @process_state()
    def state(name: str) -> str:
        if name == "slow":
            begun.set()
            assert end.wait(10)
        return name

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(state, "slow")
        assert begun.wait(10)
        assert state("quick") == "quick"
        end.set()
        assert slow.result(10) == "slow"


def test_state_may_be_made_of_other_state():
    @process_state()
    def state(depth: int) -> list[object]:
        return [state(depth - 1)] if depth else []

    assert state(3) == [[[[]]]]
    assert state(3)[0] is state(2)


def test_an_error_is_not_kept():
    answers = iter([ZeroDivisionError("no"), "yes"])

    @process_state()
    def state() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(ZeroDivisionError):
        state()
    assert state() == state() == "yes"


def test_the_least_recently_used_is_dropped():
    made = []

    @process_state(limit=2)
    def state(name: str) -> str:
        made.append(name)
        return name

    for name in "abacab":
        state(name)
    assert made == ["a", "b", "c", "b"]


def test_a_fresh_runtime_is_empty_and_ends():
    state = process_state()(object)
    before = state()
    with fresh_runtime() as runtime:
        inside = state()
        assert Runtime.current is runtime
        assert state() is inside is not before
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(state).result() is inside
    assert state() is before


@forks
def test_a_child_has_a_runtime_of_its_own():
    state = process_state()(object)
    before = state()

    def act() -> None:
        assert is_forked()
        assert state() is state() is not before
        with fresh_runtime():
            assert is_forked()
        assert fork_and_do(state) == ""

    assert fork_and_do(act) == ""
    assert not is_forked()
    assert state() is before


@forks
def test_a_child_that_is_forked_with_a_fresh_runtime_keeps_its_own():
    state = process_state()(object)
    before = state()
    with contextlib.ExitStack() as stack:
        stack.enter_context(fresh_runtime())

        def act() -> None:
            own = state()
            stack.close()
            assert state() is own is not before

        assert fork_and_do(act) == ""
    assert state() is before


def _check(condition: bool) -> None:
    assert condition


@forks
def test_a_child_takes_no_lock_of_a_thread_that_makes_state():
    begun, end = threading.Event(), threading.Event()

    @process_state()
    def state() -> int:
        if not is_forked():
            begun.set()
            assert end.wait(60)
        return os.getpid()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(state)
        assert begun.wait(10)
        with held_by_a_thread([Runtime.current._lock]):
            assert fork_and_do(lambda: _check(state() == os.getpid())) == ""
        end.set()
        assert waiting.result(10) == os.getpid()


@forks
def test_a_fork_waits_for_what_it_may_not_interrupt():
    inside, times = threading.Event(), []

    def use() -> None:
        with uninterrupted_by_fork():
            inside.set()
            end.wait(1)  # for nothing: a fork that does not wait is over before
            times.append("used")

    end = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        used = pool.submit(use)
        assert inside.wait(10)
        assert fork_and_do(lambda: _check(times == ["used"])) == ""
        used.result(10)
    with uninterrupted_by_fork():  # of this thread: a fork does not wait for itself
        assert fork_and_do(lambda: None) == ""
    assert fork_and_do(lambda: uninterrupted_by_fork().__enter__()) == ""
