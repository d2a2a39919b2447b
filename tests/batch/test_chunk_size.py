from hypothesis import given
from hypothesis import strategies as st

from jp2batch.batch.executors.chunk_size import LONGEST, ChunkSize


def after(*tasks: tuple[int, float]) -> ChunkSize:
    size = ChunkSize()
    for items, seconds in tasks:
        size.note(items, seconds)
    return size


def test_tasks_begin_with_an_item_and_grow_step_by_step():
    sizes = [1]
    size = ChunkSize()
    for _ in range(7):
        size.note(size.items, size.items * 0.0001)
        sizes.append(size.items)
    assert sizes == [1, 4, 16, 64, 256, 1000, 1000, 1000]


def test_tasks_last_about_a_second():
    assert after((1, 0.01), (4, 0.04), (16, 0.16), (64, 0.64), (100, 1.0)).items == 100
    assert after((1, 0.01), (4, 0.04), (16, 0.16), (64, 6.4)).items == 10


def test_long_items_are_tasks_of_their_own():
    assert after((1, 30.0)).items == after((1, 0.01), (4, 0.04), (1, 30.0)).items == 1


def test_late_news_of_smaller_tasks_do_not_shrink_the_next():
    assert after((1, 0.001), (4, 0.004), (16, 0.016), (1, 0.001)).items >= 64


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 1000)), max_size=50))
def test_the_size_stays_within_its_bounds(tasks):
    assert 1 <= after(*tasks).items <= ChunkSize.MOST
    if tasks and tasks[-1][1] > LONGEST:
        assert after(*tasks).items <= tasks[-1][0]
