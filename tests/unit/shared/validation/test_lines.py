"""From bytes to lines: empty files, other encodings, gzip, long rows, chunks of any size."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.validation import codes
from shared.validation.sink import spooled_sink
from shared.validation.validator import validate
from tests.examples import examples


def test_blank_lines_are_skipped_counted_and_keep_the_line_numbers_true(check, rows) -> None:
    checked = check(b"\n  \r\n" + rows(300, b"", b"broken"))
    assert checked.codes == {"invalid_json": (304,), "blank_line": (1, 2, 303)}


# With ids: those pytest makes of gzip's bytes hold the time, and two workers collect at different times.
@pytest.mark.parametrize(
    "data",
    [b"", b"\xef\xbb\xbf", gzip.compress(b""), b"\n\n"],
    ids=["nothing", "byte order mark", "packed nothing", "blank lines"],
)
def test_a_file_without_rows_is_empty(check, data) -> None:
    assert check(data).errors == ["empty_dataset"]


@pytest.mark.parametrize(
    "data",
    [b"\0\0\0\0", b"P\0K\3"],
    ids=["zeros", "binary"],
)
def test_what_is_not_utf8_text_says_so_once(check, data) -> None:
    assert check(data).errors == ["not_utf8"]


def test_damaged_and_cut_off_gzip_is_refused(check, rows) -> None:
    packed = gzip.compress(rows(300))
    assert "invalid_gzip" in check(packed[:-20]).errors
    assert "invalid_gzip" in check(packed[:50] + b"\xff\xff\xff" + packed[53:]).errors
    assert "invalid_gzip" in check(packed + b"trailing").errors


def test_an_over_long_row_is_reported_and_the_next_one_read(check, rows) -> None:
    data = rows(60, b"x" * (codes.MAX_ROW_BYTES + 1)) + rows(1, start=99)
    for size in (70_001, 2 * codes.MAX_ROW_BYTES):
        checked = check([data[i : i + size] for i in range(0, len(data), size)], rows(20, start=100))
        assert checked.codes == {"row_too_long": (61,)}
        assert checked.result.report.statistics.train_rows == 61


PIECES = st.sampled_from(
    [
        b"\n",
        b"\r\n",
        b"{",
        b"\xff",
        b"\xef\xbb\xbf",
        b'{"messages":[]}',
        b'{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}',
        b"prompt,completion\n",
        b'"a, b",c\n',
        b'{"prompt":"p","completion":"c"}\n',
        b'{"messages":[{"role":"user","content":"q"}],"k":1}\n',
        b'{"messages":[{"role":"user","content":"\xc3\xa9"},{"role":"assistant","content":"b"}],"k":1}',
    ]
)


def outcome(chunks: list[bytes]) -> tuple[Any, ...]:
    with spooled_sink() as sink:
        result = validate(
            chunks,
            None,
            None,
            project="part-codes",
            file_name="train.jsonl",
            default_base_model="droptune/tiny-llama",
            sink=sink,
        )
        return result, sink.train.read(), sink.eval.read()


@examples(100)
@given(st.lists(PIECES, max_size=40), st.sampled_from(["plain", "packed", "cut", "damaged"]), st.integers(1, 60))
def test_the_result_does_not_depend_on_the_size_of_the_chunks(pieces, form, size) -> None:
    data = b"".join(pieces)
    packed = gzip.compress(data)
    damaged = packed[: len(packed) // 2] + b"\xff" + packed[len(packed) // 2 + 1 :]
    data = {"plain": data, "packed": packed, "cut": packed[:-9], "damaged": damaged}[form]
    assert outcome([data[i : i + size] for i in range(0, len(data), size)]) == outcome([data])
