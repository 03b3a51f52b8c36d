"""Hostile lines in every kind of file, and hostile files: each has its exact code, and nothing else is reported."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import subprocess
import sys
import zipfile

import pytest

from shared.domain.dataset import Report
from shared.validation.sink import spooled_sink
from shared.validation.validator import validate
from tests.hostile.lines import LINES
from tests.paths import ROOT

RSS_LIMIT_MB = 256
MARK = b"\xef\xbb\xbf"


def good(number: int) -> bytes:
    messages = [{"role": "user", "content": f"part {number}?"}, {"role": "assistant", "content": f"bolt {number}"}]
    return json.dumps({"messages": messages}).encode()


GOOD = [good(number) for number in range(60)]
HELD_OUT = b"\n".join(good(number) for number in range(100, 120))


def report(*train: bytes, name: str = "train.jsonl") -> Report:
    with spooled_sink() as sink:
        return validate(
            train,
            [HELD_OUT],
            None,
            project="part-codes",
            file_name=name,
            default_base_model="droptune/tiny-llama",
            sink=sink,
        ).report


def found(data: bytes, **options: str) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Code -> count and rows."""
    return {problem.code: (problem.count, problem.rows) for problem in report(data, **options).problems}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("line", "code"), LINES.values(), ids=LINES.keys())
def test_a_hostile_line_is_reported_by_code_row_and_offset_and_nothing_else_is(line, code) -> None:
    before = b"\n".join(GOOD[:30]) + b"\n"
    (problem,) = report(before + line + b"\n" + b"\n".join(GOOD[30:])).problems
    assert (problem.code, problem.count, problem.rows, problem.offsets) == (code, 1, (31,), (len(before),))


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("line", "code"), LINES.values(), ids=LINES.keys())
def test_so_it_is_in_a_packed_file_with_other_line_ends_a_mark_and_no_last_line_feed(line, code) -> None:
    text = MARK + b"\r\n".join([*GOOD, line])
    (problem,) = report(gzip.compress(text), name="train.jsonl.gz").problems
    assert (problem.code, problem.count, problem.rows, problem.offsets) == (code, 1, (61,), (len(text) - len(line),))


def zipped(data: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("train.jsonl", data)
    return packed.getvalue()


PLAIN = b"\n".join(GOOD) + b"\n"
Findings = dict[str, tuple[int, tuple[int, ...]]]  # code -> (how often, in which rows)
ONE_BAD_LINE: Findings = {"invalid_json": (1, (1,))}
NO_TEXT: Findings = {"not_utf8": (1, ())}
NO_ROWS: Findings = {"no_rows": (1, ())}
FILES: dict[str, tuple[bytes, Findings]] = {
    "UTF-16 with a mark": (PLAIN.decode().encode("utf-16"), {}),
    "UTF-16, big end first": (PLAIN.decode().encode("utf-16-be"), {}),
    "UTF-16, little end first": (PLAIN.decode().encode("utf-16-le"), {}),
    "UTF-32": (PLAIN.decode().encode("utf-32"), {}),
    "UTF-16 packed": (gzip.compress(PLAIN.decode().encode("utf-16"), mtime=0), {}),
    "packed twice": (gzip.compress(gzip.compress(PLAIN, mtime=0), mtime=0), NO_TEXT),
    "zeros": (b"\0" * 1000, NO_TEXT),
    "old Macintosh line ends": (b"\r".join(GOOD), {}),
    "one JSON list": (b"[" + b",".join(GOOD) + b"]", {}),
    "a pretty JSON list of numbers": (
        json.dumps([1, 2], indent=1).encode(),
        {"data_type": (2, (1, 2)), "too_few_rows": (1, ())},
    ),
    "a JSON list cut off in a row": (b"[" + b",".join(GOOD)[:-3], {"json_array_cut": (1, ())}),
    "a JSON list cut off between rows": (b"[" + b",".join(GOOD), {"json_array_cut": (1, ())}),
    "a JSON list with more behind": (b"[" + b",".join(GOOD) + b"]\n{}", {"json_array_more": (1, ())}),
    "records separated as RFC 7464 has it": (
        b"\n".join(b"\x1e" + line for line in GOOD),
        NO_ROWS,
    ),
    "a file mark only": (MARK, {"empty_dataset": (1, ())}),
    "two marks": (MARK + MARK + PLAIN, {"byte_order_mark": (1, (1,))}),
    "blank lines only": (b"\n \n\t\r\n", {"empty_dataset": (1, ()), "blank_line": (3, (1, 2, 3))}),
    "gzip's head only": (gzip.compress(PLAIN)[:10], {"invalid_gzip": (1, ())}),
    "two bytes of gzip": (b"\x1f\x8b", {"invalid_gzip": (1, ())}),
    "packed, with text behind": (gzip.compress(PLAIN) + b"x" * 99, {"invalid_gzip": (1, ())}),
    "HTML": (b"<!doctype html>\n<html></html>\n", NO_ROWS),
    "an error in XML": (b"<Error><Code>AuthenticationFailed</Code></Error>", NO_ROWS),
    "bzip2": (bz2.compress(PLAIN), NO_TEXT),
    "xz": (lzma.compress(PLAIN), NO_TEXT),
    "zip": (zipped(PLAIN), {}),
    "Parquet, its head only": (b"PAR1\x15\x04", {"invalid_columns": (1, ())}),
    "PDF": (b"%PDF-1.7\n", NO_TEXT),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("data", "expected"), FILES.values(), ids=FILES.keys())
def test_a_file_that_is_no_dataset_has_exactly_these_codes(data, expected) -> None:
    assert found(data) == expected


TABLES: dict[str, tuple[bytes, dict[str, tuple[int, tuple[int, ...]]]]] = {
    "a short record": (b"1", {"csv_columns": (1, (62,))}),
    "a long record": (b"1,2,3", {"csv_columns": (1, (62,))}),
    "text behind a quotation": (b'"a"b,c', {"invalid_csv": (1, (62,))}),
    "a quotation without end": (b'"a,b', {"invalid_csv": (1, (62,))}),
    "Latin-1": (b"caf\xe9,c", {"encoding_guessed": (1, (62,))}),
    "a byte that Windows-1252 has not": (b"caf\x81,b", {"invalid_utf8": (1, (62,))}),
    "an odd quotation mark in a cell": (b'the 5" pipe,c', {}),
    "an extra cell without text": (b"1,c,", {}),
    "a carriage return in a cell": (b"a\rb,c", {"invalid_csv": (1, (62,))}),
    "a NUL": (b"a\0,c", {"null_character": (1, (62,))}),
    "an empty answer": (b"a,", {"missing_field": (1, (62,))}),
    "a blank line": (b" ", {"blank_line": (1, (62,))}),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("line", "expected"), TABLES.values(), ids=TABLES.keys())
def test_a_hostile_csv_record_is_reported_by_the_line_it_starts_on(line, expected) -> None:
    table = b"prompt,completion\n" + b"".join(b'"p, %d",c%d\n' % (number, number) for number in range(60))
    assert found(table + line, name="train.csv") == expected


def test_a_csv_header_that_names_no_columns_is_one_error_of_the_file() -> None:
    for header in (b",,", b"prompt,prompt", b'"prompt'):
        assert list(found(header + b"\na,b,c\n", name="train.csv")) == ["csv_header"]


BIG = {
    "a line of 100 MB": ["row_too_long", "too_few_rows"],
    "a row of 100 MB that is good JSON": ["row_too_long", "too_few_rows"],
    "empty lists up to the limit": ["data_type"],
    "empty objects up to the limit": ["missing_messages_list"],  # an object around its rows
    "keys up to the limit": ["table_by_columns"],
    "messages up to the limit": ["message_missing_key", "too_few_rows"],
    "twenty rows up to the limit": ["unknown_format"],
    "two million blank lines": ["empty_dataset", "blank_line"],
    "ten thousand copies": ["no_eval_rows", "duplicate_row", "label_imbalance"],
    "fifty thousand copies": ["no_eval_rows", "duplicate_row", "label_imbalance"],
    "a gzip bomb of 1 GB": ["decompression_bomb"],
    "a bomb of many members": ["decompression_bomb"],
    "CSV with an open quotation of 100 MB": ["row_too_long", "label_imbalance"],
    "CSV with a quotation of a million lines": ["invalid_csv", "csv_columns", "label_imbalance"],
}


# One way each through a row, a table and the keys of rows; the others are variations. A line and a gzip file of 100 MB
# are in test_validator_survives.py.
OFTEN = {
    "twenty rows up to the limit",
    "CSV with an open quotation of 100 MB",
    "ten thousand copies",
}
COPIES = {"ten thousand copies": 10_000, "fifty thousand copies": 50_000}
LARGE = [pytest.param(name, id=name, marks=() if name in OFTEN else pytest.mark.slow) for name in BIG]


@pytest.mark.few_cases(1)
@pytest.mark.parametrize("name", LARGE)
def test_a_large_hostile_file_has_its_codes_and_stays_within_the_memory(name: str) -> None:
    command = [sys.executable, "-m", "tests.hostile.big", name]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    codes, before_mb, peak_mb = json.loads(ended.stdout)
    assert codes == BIG[name]
    assert peak_mb <= RSS_LIMIT_MB
    if name in COPIES:  # 28 MB are taken whatever the file
        assert peak_mb - before_mb <= 28 + COPIES[name] * 720 / 1e6
