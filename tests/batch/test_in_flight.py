from hypothesis import given
from hypothesis import strategies as st

from jp2batch.batch.executors.in_flight import InFlightWindow


def landing(every: float, count: int) -> InFlightWindow:
    pace = InFlightWindow(0.0)
    for number in range(1, count + 1):
        pace.note_completed(1, number * every)
    return pace


def test_few_are_under_way_before_any_has_landed():
    assert InFlightWindow(0.0).window(2) == 2 * InFlightWindow.LEAST


def test_few_long_requests_are_begun_ahead_of_time():
    assert landing(every=1.0, count=20).window(8) == 8 * InFlightWindow.LEAST


def test_of_short_requests_there_is_work_for_a_tenth_of_a_second():
    assert 45 <= landing(every=0.002, count=1000).window(4) <= 50


def test_a_batch_that_slows_down_has_fewer_under_way():
    pace = landing(every=0.002, count=1000)
    pace.note_completed(1, 3.0)
    pace.note_completed(1, 4.0)
    assert pace.window(2) == 2 * InFlightWindow.LEAST


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 10)), max_size=50), st.integers(1, 64))
def test_the_window_stays_within_its_bounds(landings, threads):
    pace, now = InFlightWindow(0.0), 0.0
    for count, passed in landings:
        now += passed
        pace.note_completed(count, now)
    assert InFlightWindow.LEAST * threads <= pace.window(threads) <= InFlightWindow.MOST * threads
