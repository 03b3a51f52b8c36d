"""What a training file may be packed in, and what is reported of one that cannot be unpacked."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from shared.validation.codes import MAX_RATIO, RATIO_FROM_BYTES
from shared.validation.containers import needs_job, read_text
from tests.unit.shared.validation.columns_of import PAIRS, pa, parquet

LINES = b"\n".join(json.dumps(row).encode() for row in PAIRS)
TABLE = "prompt,completion\n" + "\n".join(f"question {n},answer {n}" for n in range(600))


def tar(data: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        info = tarfile.TarInfo("train.jsonl")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


def arrow(rows: list[dict[str, Any]], opened: Any) -> bytes:
    packed = io.BytesIO()
    table = pa.Table.from_pylist(rows)
    with opened(packed, table.schema) as writer:
        writer.write_table(table)
    return packed.getvalue()


PACKED = {
    "gzip": gzip.compress(LINES),
    "zip": zipped({"train.jsonl": LINES}),
    "zip without compression": zipped({"train.jsonl": LINES}, zipfile.ZIP_STORED),
    "zip with bzip2": zipped({"train.jsonl": LINES}, zipfile.ZIP_BZIP2),
    "zip with a table in a folder": zipped({"data/": b"", "data/train.csv": TABLE.encode()}),
    "zip with an array": zipped({"train.json": json.dumps(PAIRS).encode()}),
    "zip of macOS": zipped({"train.jsonl": LINES, "__MACOSX/._train.jsonl": b"x", ".DS_Store": b"x"}),
    "Parquet": parquet(PAIRS),
    "Arrow": arrow(PAIRS, pa.ipc.new_file),
    "Arrow, a stream": arrow(PAIRS, pa.ipc.new_stream),
}


CARRIAGE_RETURNS = {
    "JSON Lines": LINES,
    "pretty objects": b"\n".join(json.dumps(row, indent=1).encode() for row in PAIRS),
    "an array": json.dumps(PAIRS, indent=1).encode(),
    "CSV": b"prompt,completion\n" + b"".join(f"{row['prompt']},{row['completion']}\n".encode() for row in PAIRS),
    "CSV with quotes": b'"prompt";"completion"\n'
    + b"".join(f'"{row["prompt"]}";"{row["completion"]}"\n'.encode() for row in PAIRS),
}


@pytest.mark.few_cases(3, ci=15)
@pytest.mark.parametrize("size", [1, 4096, 10**9])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("data", CARRIAGE_RETURNS.values(), ids=CARRIAGE_RETURNS)
def test_lines_may_end_with_carriage_returns_alone(check, rows, data: bytes, encoding: str, size: int) -> None:
    expected = check(LINES, rows(20, start=1000)).result.version
    written = data.replace(b"\n", b"\r").decode().encode(encoding)
    checked = check([written[at : at + size] for at in range(0, len(written), size)], rows(20, start=1000))
    assert (checked.errors, checked.result.version) == ([], expected)


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(
    ("data", "container"),
    [(LINES, "jsonl"), (parquet(PAIRS), "parquet"), (arrow(PAIRS, pa.ipc.new_file), "arrow"),
     (arrow(PAIRS, pa.ipc.new_stream), "arrow"), (TABLE.encode(), "csv"), (json.dumps(PAIRS).encode(), "json")],
)  # fmt: skip
def test_a_report_says_what_the_rows_were_in(check, data: bytes, container: str) -> None:
    assert check(data).result.report.container == container


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("size", [1, pytest.param(1000, marks=pytest.mark.slow), 10**9])
@pytest.mark.parametrize("data", PACKED.values(), ids=PACKED)
def test_the_rows_are_the_same_whatever_they_are_packed_in(check, rows, data, size) -> None:
    expected = check(LINES, rows(20, start=1000)).result.version
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    checked = check(chunks, rows(20, start=1000), file_name="data")
    assert (checked.errors, checked.result.version) == ([], expected)


DAMAGED = {
    "half a zip": (zipped({"a": LINES})[:-30], "invalid_zip", "it is damaged or cut off"),
    "a zip with other bytes in its file": (
        zipped({"a": LINES}, zipfile.ZIP_STORED).replace(b"question 7", b"question X", 1),
        "invalid_zip",
        "it is damaged or cut off",
    ),
    "a zip of two files": (zipped({"train.jsonl": LINES, "eval.jsonl": LINES}), "zip_files", "holds 2 files"),
    "a zip of nothing": (zipped({}), "zip_files", "holds 0 files"),
    "a tar archive": (tar(LINES), "not_utf8", "it is a tar archive"),
    "a tar archive in gzip": (gzip.compress(tar(LINES)), "not_utf8", "it is a tar archive"),
    "a tar archive in a zip": (zipped({"train.tar": tar(LINES)}), "not_utf8", "it is a tar archive"),
    "half a Parquet file": (parquet(PAIRS)[:-30], "invalid_columns", "damaged"),
    "the head of a Parquet file": (b"PAR1\x15\x04", "invalid_columns", "damaged"),
    "half an Arrow file": (arrow(PAIRS, pa.ipc.new_file)[:-300], "invalid_columns", "damaged"),
    "half an Arrow stream": (arrow(PAIRS, pa.ipc.new_stream)[:-3000], "invalid_columns", "damaged"),
}


@pytest.mark.parametrize(("data", "code", "words"), DAMAGED.values(), ids=DAMAGED)
def test_what_cannot_be_unpacked_is_one_error_that_says_what_it_is(check, data, code, words) -> None:
    errors = [one for one in check(data).result.report.problems if one.severity == "error"]
    assert [(one.code, words in one.message) for one in errors] == [(code, True)]


def test_an_encrypted_zip_says_so(check) -> None:
    data = bytearray(zipped({"a": LINES}))
    data[6] |= 1  # the flag of the file
    data[data.index(b"PK\1\2") + 8] |= 1  # and of the directory
    (problem,) = check(bytes(data)).result.report.problems
    assert (problem.code, problem.message) == ("invalid_zip", "The zip archive cannot be read: it is encrypted.")


def test_a_zip_that_grows_without_end_is_refused(check) -> None:
    assert check(zipped({"a": b" " * (RATIO_FROM_BYTES + 2**21)})).errors == ["decompression_bomb"]


def test_rows_that_repeat_each_other_may_shrink_to_a_part_in_300_and_are_unpacked_in_small_pieces() -> None:
    size, line = 0, LINES.splitlines(keepends=True)[0].strip() + b" " * 1500 + b"\n"
    packed = gzip.compress(line * (RATIO_FROM_BYTES // len(line) * 5 // 4))
    for piece in read_text([packed]):
        size += len(piece)
        assert len(piece) <= 2**20
    assert 300 < size / len(packed) < MAX_RATIO


LIMIT = 10_000
TEXT = b"x" * LIMIT
HALVES = TEXT[: LIMIT // 2], TEXT[LIMIT // 2 :]
IN_JOB = {
    "as much text as the limit": (gzip.compress(TEXT), False),
    "one byte more": (gzip.compress(TEXT + b"y"), True),
    "several members": (b"".join(map(gzip.compress, HALVES)), False),
    "several members and one byte more": (b"".join(map(gzip.compress, (*HALVES, b"y"))), True),
    "an empty member first": (gzip.compress(b"") + gzip.compress(TEXT + b"y"), True),
    "padding": (gzip.compress(TEXT) + bytes(LIMIT), False),
    "cut off before the limit": (gzip.compress(random.Random(1).randbytes(3 * LIMIT))[: LIMIT // 2], False),
    "cut off after the limit": (gzip.compress(random.Random(1).randbytes(3 * LIMIT))[: 2 * LIMIT], True),
    "a ratio of 1,000": (gzip.compress(b" " * 10**7), True),
    "a zip with as much": (zipped({"train.jsonl": TEXT}), False),
    "a zip with one byte more": (zipped({"train.jsonl": TEXT + b"y"}), True),
    "a zip with two files": (zipped({"a.jsonl": TEXT, "b.jsonl": TEXT}), False),
    "a zip cut off": (zipped({"train.jsonl": TEXT + b"y"})[:-30], False),
    "Parquet": (parquet(PAIRS[:1]), True),
    "text": (TEXT * 2, False),  # its size is known
    "nothing": (b"", False),
}


@pytest.mark.parametrize("size", [1, pytest.param(7, marks=pytest.mark.slow), 10**9])
@pytest.mark.parametrize(("data", "expected"), IN_JOB.values(), ids=IN_JOB)
def test_a_file_needs_the_job_by_the_text_in_it(data: bytes, expected: bool, size: int) -> None:
    chunks = (data[start : start + size] for start in range(0, len(data), size))
    assert needs_job(chunks, LIMIT) is expected


@pytest.mark.parametrize("times", [10, 1000])
def test_no_more_is_unpacked_than_the_limit(times: int) -> None:
    """Of what does not compress, as much is read as there is text."""
    taken = 0

    def chunks() -> Iterator[bytes]:
        nonlocal taken
        for chunk in [gzip.compress(random.Random(1).randbytes(LIMIT))] * times:
            taken += len(chunk)
            yield chunk

    assert needs_job(chunks(), 20 * LIMIT) is (times > 20)
    assert taken <= 20 * LIMIT + 2**16 + 2 * (LIMIT + 100)
