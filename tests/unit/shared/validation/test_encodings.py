"""Text of other encodings than UTF-8: the same rows, and bytes of no encoding are not taken for one."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from typing import Any

import pytest

from shared.validation.intake import open_rows

ROWS: list[dict[str, Any]] = [{"prompt": f"Wie groß ist Teil {n}? 部品 🔩", "completion": f"{n} mm"} for n in range(60)]
NAMES = ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]


def table(delimiter: str, end: str = "\n", rows: list[dict[str, Any]] = ROWS) -> str:
    lines = [[*rows[0]], *([*row.values()] for row in rows)]
    return "".join(delimiter.join(cells) + end for cells in lines)


CONTAINERS = {
    "JSON Lines": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS),
    "JSON Lines, CRLF": "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in ROWS),
    "an array": json.dumps(ROWS, ensure_ascii=False),
    "a pretty array": json.dumps(ROWS, ensure_ascii=False, indent=2),
    "a table with commas": table(","),
    "Unicode text of Excel": table("\t", "\r\n"),
    "a table of Excel": "sep=;\r\n" + table(";", "\r\n"),
}


def read(data: bytes, size: int = 1001) -> list[Any]:
    """Every row of a file that comes in chunks of this size."""
    intake = open_rows(data[start : start + size] for start in range(0, len(data), size))
    return [json.loads(line) for _, _, lines in intake.blocks for line in lines if isinstance(line, bytes)]


@pytest.mark.parametrize("mark", ["\ufeff", ""], ids=["with a mark", "without a mark"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", CONTAINERS.values(), ids=CONTAINERS)
def test_the_rows_are_the_same_in_every_encoding(text, name, mark) -> None:
    data = (mark + text).encode(name)
    assert read(data) == read(data, len(data)) == ROWS


def zipped(data: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("train.csv", data)
    return packed.getvalue()


@pytest.mark.parametrize("packed", [gzip.compress, zipped], ids=["gzip", "zip"])
@pytest.mark.parametrize("name", ["utf-16", "utf-32", "utf-16-be"])
def test_so_they_are_in_an_archive(packed, name) -> None:
    assert read(packed(table(";").encode(name))) == ROWS


WITHOUT_ASCII = [{"问题": f"{'零件' * 40}{chr(0x4E00 + n)}", "答案": chr(0x5E00 + n) * 3} for n in range(60)]


@pytest.mark.parametrize("name", NAMES)
def test_a_table_with_hardly_a_letter_of_ascii_is_known_without_a_mark(name) -> None:
    assert read(table(",", rows=WITHOUT_ASCII).encode(name)) == WITHOUT_ASCII


@pytest.mark.parametrize("name", ["utf-16", "utf-16-be", "utf-32-le"])
def test_half_a_surrogate_pair_refuses_its_row_alone(check, rows, name) -> None:
    text = rows(60).decode() + '{"prompt": "x\ud800", "completion": "y"}\n' + rows(1, start=99).decode()
    assert check(text.encode(name, "surrogatepass"), rows(20, start=1000)).codes == {"invalid_utf8": (61,)}


DAMAGED = {
    "UTF-16 cut off in a character": (CONTAINERS["JSON Lines"].encode("utf-16")[:-1], "UTF-16"),
    "UTF-16 behind which a tool wrote UTF-8": (CONTAINERS["JSON Lines"].encode("utf-16") + b"\n", "UTF-16"),
    "UTF-32 of no character": ("{}\n".encode("utf-32") + b"\xff" * 8, "UTF-32"),
}


@pytest.mark.parametrize(("data", "name"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_text_is_one_finding_that_names_its_encoding(check, data, name) -> None:
    (problem,) = [one for one in check(data).result.report.problems if one.code == "not_utf8"]
    assert f"it is damaged or cut off text in {name}." in problem.message


NULLS = {
    "in a text": b'{"prompt": "a\0b", "completion": "c"}\n',
    "before a quotation mark": b'{"prompt": "ab\0", "completion": "c"}\n',
    "several": b'{"prompt": "\0a\0", "completion": "\0\0c"}\n',
}


@pytest.mark.parametrize("line", NULLS.values(), ids=NULLS)
@pytest.mark.parametrize("shift", range(2))
def test_utf_8_with_null_characters_is_not_taken_for_another_encoding(check, rows, line, shift) -> None:
    checked = check(b" " * shift + line + rows(60), rows(20, start=1000))
    assert checked.codes == {"null_character": (1,)}


@pytest.mark.parametrize("name", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_recipe_is_read_in_every_encoding_too(check, rows, name) -> None:
    recipe = "use_case: größer\ntypo: 1\n".encode(name)
    assert check(rows(60), rows(20, start=1000), recipe).codes == {"recipe_unknown_key": ()}
