"""Callers of requests to stores: a run may wait for an answer."""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, Protocol, TypeVar

Parameters = ParamSpec("Parameters")
T = TypeVar("T")


class Caller(Protocol):
    """A function to make requests; it may repeat them, or give up."""

    def __call__(self, request: Callable[[], Any], /, *, is_long: bool) -> Any:
        """Make a request, perhaps in another thread; return its value."""


_caller: contextvars.ContextVar[Caller | None] = contextvars.ContextVar("caller", default=None)


@contextlib.contextmanager
def called_by(caller: Caller) -> Iterator[None]:
    """Let a caller make all requests in a `with` block."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


def request(*, is_long: bool = False) -> Callable[[Callable[Parameters, T]], Callable[Parameters, T]]:
    """Decorate a function: the caller of the context makes its request.

    `is_long` marks requests that may take long in a healthy store, such as listings.
    """

    def decorate(function: Callable[Parameters, T]) -> Callable[Parameters, T]:
        @functools.wraps(function)
        def make(*arguments: Parameters.args, **options: Parameters.kwargs) -> T:
            caller = _caller.get()
            if caller is None:
                return function(*arguments, **options)
            value: T = caller(functools.partial(function, *arguments, **options), is_long=is_long)
            return value

        return make

    return decorate
