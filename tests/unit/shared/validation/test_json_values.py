"""JSON arrays and objects over several lines: each value is a row, whatever the size of the chunks."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.validation.codes import MAX_ROW_BYTES
from shared.validation.json_values import holds_values, mapped, read_values
from shared.validation.lines import RefusedLine, Unreadable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.sampled_from('a"\\{}[],: \né'), max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def values(data: bytes, size: int = 1000) -> list[tuple[int, int, bytes | RefusedLine]]:
    return [*read_values(mapped(pieces(data, size)))]


@given(st.lists(JSON, max_size=5), st.sampled_from([None, 1, 4]), st.integers(1, 40), st.booleans())
def test_the_values_of_an_array_are_those_that_were_written(rows, indent, size, ascii_only) -> None:
    data = json.dumps(rows, indent=indent, ensure_ascii=ascii_only).encode()
    found = values(data, size)
    assert [json.loads(line) for _, _, line in found if isinstance(line, bytes)] == rows
    assert [number for number, _, _ in found] == list(range(1, len(rows) + 1))
    assert all(data[offset : offset + len(line)] == line for _, offset, line in found)


@given(st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=3), min_size=1, max_size=4), st.integers(1, 40))
def test_objects_that_follow_each_other_are_read_without_an_array(rows, size) -> None:
    data = "\n".join(json.dumps(row, indent=2) for row in rows).encode()
    assert [json.loads(line) for _, _, line in values(data, size) if isinstance(line, bytes)] == rows


HEADS = {
    "an array on one line": (b'[{"a": 1}, {"a": 2}]', True),
    "a pretty array": (b'[\n  {\n    "a": 1', True),
    "an array that begins on its own line": (b'[\n{"a": 1},\n', True),
    "an array behind blanks": (b'\n  [ {"a"', True),
    "an array longer than the head": (b'[{"a": "' + b"x" * 4000, True),
    "an empty array": (b"[]", True),
    "a pretty object": (b'{\n  "a": 1', True),
    "JSON Lines": (b'{"a": 1}\n{"a": 2}\n', False),
    "JSON Lines whose first row is a list": (b'[1, 2]\n{"a": 2}\n', False),
    "lists of messages, one a line": (b'[{"role": "user"}]\n[{"role": "user"}]\n', False),
    "a table": (b"prompt,completion\n", False),
    "a text in brackets": (b"[INST] Hello", False),
    "nothing": (b"", False),
}


@pytest.mark.parametrize(("head", "is_one"), HEADS.values(), ids=HEADS)
def test_an_array_is_known_by_its_first_bytes(head, is_one) -> None:
    assert holds_values(head) is is_one


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'[{"a": 1}', "json_array_cut"),
        (b"[", "json_array_cut"),
        (b'[{"a": 1}, {"b": "te', "json_array_cut"),
        (b'[{"a": 1}, {"b": [2}]', "json_array_cut"),
        (b"[1, 2", "json_array_cut"),
        (b"[1] [2]", "json_array_more"),
        (b"[]x", "json_array_more"),
    ],
)
def test_an_array_that_does_not_end_or_is_not_all_is_unreadable(data, code, size) -> None:
    with pytest.raises(Unreadable, match=code):
        values(data, size)


def test_commas_between_values_may_be_missing_or_too_many() -> None:
    assert [line for _, _, line in values(b'[{"a": 1} {"a": 2},, {"a": 3},]')] == [
        b'{"a": 1}',
        b'{"a": 2}',
        b'{"a": 3}',
    ]


def test_a_damaged_value_does_not_hide_the_next_ones() -> None:
    lines = [line for _, _, line in values(b'[{"a": 1}, {"b": nope}, {"c": ]}, x{"d": 4}]', 3)]
    assert lines == [b'{"a": 1}', b'{"b": nope}', b'{"c": ]', b"}", b"x", b'{"d": 4}']


@pytest.mark.parametrize("size", [2**16, 2**20])
def test_a_value_that_is_too_long_is_refused_and_the_next_one_read_in_flat_memory(size: int) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'[{"a": "'
        for _ in range(40 * 2**20 // size):
            yield b"x" * size
        yield b'"}, {"a": 2}]'

    tracemalloc.start()
    found: list[Any] = [(number, line) for number, _, line in read_values(mapped(chunks()))]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [number for number, _ in found] == [1, 2]
    assert (found[0][1].code, len(found[0][1]) > MAX_ROW_BYTES, found[1][1]) == ("row_too_long", True, b'{"a": 2}')
    assert peak < 4 * MAX_ROW_BYTES
