"""Tasks in child processes."""

import time

from jp2batch.compute import isolated
from jp2batch.compute.isolated import run_task_in_subprocess
from jp2batch.compute.task import TaskSpec
from jp2batch.core.errors import UnexpectedError
from jp2batch.core.options import SecretDict
from jp2batch.core.request import Request
from support.deliveries import ImportsSlowly


def test_a_deadline_is_for_the_work_not_for_imports(band):
    order = TaskSpec(ImportsSlowly(7), SecretDict(), None, deadline=5.0)
    begin = time.monotonic()
    result = run_task_in_subprocess(Request(band), order)
    assert time.monotonic() - begin > 7
    assert (result.error, result.value) == (None, "imported")


def test_a_child_that_does_not_start_says_so(band, monkeypatch):
    monkeypatch.setattr(isolated, "_START", 0.2)
    order = TaskSpec(ImportsSlowly(600), SecretDict(), None, deadline=600.0)
    result = run_task_in_subprocess(Request(band), order)
    assert isinstance(result.error, UnexpectedError)
    assert result.error.problem.startswith("its process did not start")
