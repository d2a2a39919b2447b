"""Errors are one line, typed, and survive the way from a worker."""

import inspect
import pickle

import pytest

from jp2batch.core import errors
from jp2batch.core.errors import Jp2BatchError

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Jp2BatchError)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_pickling(kind):
    error = kind("s3://b/k.jp2", "what was\nwrong", "what to do")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error) == "s3://b/k.jp2: what was wrong (what to do)"
    assert (again.path, again.problem, again.hint) == (error.path, error.problem, error.hint)
    assert again.retryable == error.retryable


def test_an_error_of_the_format_is_told_its_path():
    error = errors.CorruptImage("", "cut short", "fetch it again")
    assert str(error) == "cut short (fetch it again)"
    assert str(error.at("a.jp2")) == "a.jp2: cut short (fetch it again)"
    assert isinstance(error.at("a.jp2"), errors.CorruptImage)


def test_only_what_may_pass_is_retryable():
    passing = {errors.StoreUnavailable, errors.ObjectChanged, errors.RangesIgnored}
    assert {kind for kind in KINDS if kind.retryable} == passing


@pytest.mark.parametrize("kind", [errors.PermissionDenied, errors.InvalidPath, errors.StoreUnavailable])
def test_an_error_at_another_path_keeps_its_hint(kind):
    error = pickle.loads(pickle.dumps(kind("a", "is wrong", "repair it").at("s3://me:sesame@b")))
    assert (error.problem, error.hint, "sesame" in str(error)) == ("is wrong", "repair it", False)
