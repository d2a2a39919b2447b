"""The hash table in arrays holds what a dict would."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jp2batch.batch.key_table import GrowingArray, KeyTable, key_of, keys_of

KEYS = st.lists(
    st.one_of(st.integers(0, 3), st.integers(0, 5).map(lambda n: n << 20), st.integers(-(2**63), 2**63 - 1))
)


@given(st.lists(st.tuples(st.booleans(), KEYS), max_size=8))
def test_a_table_is_a_dict_of_the_newest_numbers(steps):
    table, expected = KeyTable(), dict[int, int]()
    for number, (is_block, keys) in enumerate(steps):
        numbers = range(number, number + len(keys))
        if is_block:
            table.put(np.array(keys, np.int64), np.array(numbers, np.int64))
        else:
            for key, value in zip(keys, numbers, strict=True):
                table.set(key, value)
        expected |= dict(zip(keys, numbers, strict=True))
    asked = [*expected, 1, 2 << 20, -5]
    assert table.find(np.array(asked, np.int64)).tolist() == [expected.get(key, -1) for key in asked]
    assert [table.get(key) for key in asked] == [expected.get(key, -1) for key in asked]


def test_a_table_keeps_its_numbers_as_it_grows():
    table = KeyTable()
    keys = keys_of(f"row {number}" for number in range(5000))
    for start in range(0, 5000, 700):
        table.put(keys[start : start + 700], np.arange(5000)[start : start + 700])
    assert table.find(keys).tolist() == list(range(5000))


@given(st.lists(st.text(st.characters(exclude_categories=[]), max_size=5)))
def test_keys_of_texts_are_those_of_each_text(texts):
    assert keys_of(texts).tolist() == [key_of(text) for text in texts]


def test_an_array_grows_by_rows_of_zeros():
    rows = GrowingArray([("size", np.int64)])
    rows.extend(1500)["size"] = 7
    assert (rows.append(8), len(rows), rows.extend(2).tolist()) == (1500, 1501, [(0,), (0,)])
    assert rows.rows["size"].sum() == 1500 * 7 + 8
