"""Text of other encodings than UTF-8: the same rows, and bytes of no encoding are not taken for one."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from shared.validation.encodings import LEGACY, guessed
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
    return [json.loads(line) for _, _, line in intake.lines if isinstance(line, bytes)]


@pytest.mark.few_cases(3)
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


# Languages, the encodings that their text is saved in, and sentences.
LANGUAGES = {
    name: (encodings.split(), tuple(sentences))
    for name, encodings, *sentences in (
        line.split("|") for line in Path(__file__).with_name("languages.txt").read_text("utf-8").splitlines()
    )
}
SAVED = {
    name: (LANGUAGES[name][0][at], LANGUAGES[name][1])
    for name, at in {
        "Polish": 0, "Turkish": 0, "Finnish": 0, "English": 0, "French": 1, "Russian": 1, "Japanese among English": 0,
        "Chinese": 0,
    }.items()
}  # fmt: skip
HEADERS = {"plain": "prompt,completion", "below a title": "Export of May,\nprompt,completion"}


def saved(sentences: tuple[str, ...], plain: int = 0, header: str = "prompt,completion") -> str:
    """A table of 60 rows, of which the first are ASCII."""
    sentences = tuple(one.replace(",", "") for one in sentences)
    rows = [f"question {n},answer {n}" for n in range(plain)]
    rows += [f"{n}: {sentences[n % len(sentences)]},{sentences[-1 - n % len(sentences)]} {n}" for n in range(plain, 60)]
    return "\n".join([header, *rows])


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("plain", [0, 30])
@pytest.mark.parametrize(("encoding", "sentences"), SAVED.values(), ids=SAVED)
def test_the_encoding_of_a_table_is_guessed_and_the_report_says_which_it_is_with_words(
    check, encoding, sentences, plain, header
) -> None:
    text = saved(sentences, plain, header)
    checked, right = (check(text.encode(name), file_name="train.csv") for name in (encoding, "utf-8"))
    assert (checked.train, checked.eval) == (right.train, right.eval)
    (found,) = [one for one in checked.result.report.problems if one.code == "encoding_guessed"]
    words = found.message.split(f"{encoding}: ")[1].rstrip(".")
    assert (found.severity, found.count) == ("warning", sum(not line.isascii() for line in text.splitlines()))
    assert words
    assert all(word in text or set(word) <= set(text) for word in words.split(", "))
    assert read(text.encode(encoding)) == read(text.encode(encoding), 100_000)


def test_text_of_every_language_is_read_right_in_each_encoding_that_it_is_saved_in_long_or_short() -> None:
    wrong = []
    for language, (encodings, sentences) in LANGUAGES.items():
        for encoding in encodings:
            for text in ("\n".join(sentences), "\n".join(f"{n}: {one}," for n in range(9) for one in sentences)):
                found, words = guessed(text.encode(encoding))
                if text.encode(encoding).decode(found) != text or not set(words) <= {*text, *", "}:
                    wrong.append((language, encoding, found, words))
    assert wrong == []
    assert {one for encodings, _ in LANGUAGES.values() for one in encodings} == {*LEGACY}


# What English text of Excel on Windows has beside ASCII.
SIGNS_OF_WINDOWS = Path(__file__).with_name("signs.txt").read_text("utf-8").splitlines()


def test_signs_in_text_that_else_is_ascii_are_those_of_windows_in_one_row_and_in_many() -> None:
    texts = [text for one in SIGNS_OF_WINDOWS for text in (one, "\n".join(f"{n}: Item {n}, {one}" for n in range(20)))]
    assert [text for text in texts if text.encode("cp1252").decode(guessed(text.encode("cp1252"))[0]) != text] == []


@pytest.mark.few_cases(1)
@pytest.mark.parametrize("first", SIGNS_OF_WINDOWS[::6])
def test_so_are_any_of_them_together(first) -> None:
    for other in SIGNS_OF_WINDOWS:
        text = f"{first} and {other}".encode("cp1252")
        assert text.decode(guessed(text)[0]) == text.decode("cp1252")


def test_one_character_that_windows_has_not_is_not_guessed() -> None:
    assert guessed(b"caf\x81") == ("ascii", "")


def test_the_words_shown_are_those_in_which_a_wrong_guess_would_be_seen() -> None:
    text = "kylm\xe4 \xe4\xe4ni, t\xf6iss\xe4"  # Finnish, of which Mac Roman makes signs within words
    assert guessed(text.encode("cp1252"), ("mac_roman",)) == (
        "mac_roman",
        "kylm\u2030, \u2030\u2030ni, t\u02c6iss\u2030",
    )


def test_bytes_that_are_text_in_no_encoding_are_not_guessed() -> None:
    assert guessed(b"\xe2y\x8ax\xfcy\xcd \xfax\xb7b\xc8b\x98 \xc0b\xcfa\x92x\xf8") == ("ascii", "")


HEADED = {
    "alone": "{}",
    "below a title": "\u041e\u0442\u0447\u0451\u0442 \u0437\u0430 \u043c\u0430\u0439;\n{}",
    "below sep=": "sep=;\n{}",
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("above", HEADED.values(), ids=HEADED)
@pytest.mark.parametrize("encoding", ["cp1251", "koi8_r", "cp866"])
def test_a_header_that_is_not_utf_8_above_rows_of_ascii_is_read_and_reported(check, above, encoding) -> None:
    question, answer = "\u0432\u043e\u043f\u0440\u043e\u0441", "\u043e\u0442\u0432\u0435\u0442"
    text = above.format(f"{question};{answer}\n") + "\n".join(f"Where is pump {n}?;In hall {n % 9}" for n in range(60))
    checked = [
        check(text.encode(encoding), recipe=f"data: {{columns: {columns}}}".encode(), file_name="train.csv")
        for columns in (f"{{{question}: user, {answer}: assistant}}", f"{{{question}: user, otvet: assistant}}")
    ]
    assert [list(dict.fromkeys(one.errors)) for one in checked] == [[], ["column_missing"]]
    for one in checked:
        (found,) = [problem for problem in one.result.report.problems if problem.code == "encoding_guessed"]
        assert f"{encoding}: " in found.message
        assert question in found.message


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("container", ["table", "JSON Lines"])
@pytest.mark.parametrize(("encoding", "sentences"), SAVED.values(), ids=SAVED)
def test_an_encoding_that_the_recipe_names_is_taken_for_all_text_without_a_finding(
    check, encoding, sentences, container
) -> None:
    text = saved(sentences)
    if container == "JSON Lines":
        pairs = [line.split(",", 1) for line in text.splitlines()[1:]]
        text = "\n".join(json.dumps({"prompt": a, "completion": b}, ensure_ascii=False) for a, b in pairs)
    recipe = f"data: {{encoding: {encoding}}}".encode()
    files = [(text.encode(name), recipe) for name in (encoding, "utf-8", "utf-8-sig", "utf-16")]
    checked = [check(data, recipe=given, file_name="train") for data, given in files]
    assert [one.codes.keys() & {"encoding_guessed", "invalid_utf8", "not_utf8"} for one in checked] == [set()] * 4
    assert {(one.train, one.eval) for one in checked} == {(checked[1].train, checked[1].eval)}


def test_rows_of_json_in_another_encoding_are_refused_with_the_setting_that_reads_them(check) -> None:
    text = "\n".join(
        json.dumps({"prompt": f"gr\u00f6\u00dfer {n}", "completion": "ja"}, ensure_ascii=False) for n in range(60)
    )
    (found,) = [one for one in check(text.encode("cp1252")).result.report.problems if one.code == "invalid_utf8"]
    assert (found.count, "data.encoding" in found.fix) == (60, True)


def test_names_of_columns_are_read_in_the_encoding_of_the_table(check) -> None:
    text = saved(SAVED["Polish"][1], header="pytanie,odpowied\u017a")
    recipe = "data: {columns: {pytanie: user, odpowied\u017a: assistant}}".encode()
    assert check(text.encode("cp1250"), recipe=recipe, file_name="train.csv").errors == []


def test_as_many_records_of_utf_8_as_others_are_no_table_of_another_encoding(check) -> None:
    lines = [f"gr\u00f6\u00dfer {n},{n}".encode(("utf-8", "cp1252")[n % 2]) for n in range(60)]
    checked = check(b"prompt,completion\n" + b"\n".join(lines), file_name="train.csv")
    assert (checked.errors, len(checked.codes["invalid_utf8"])) == (["invalid_utf8"], 20)


def test_bytes_of_no_encoding_are_refused(check) -> None:
    lines = [b"caf\x81\x8d\xff%d,b" % n for n in range(60)]
    recipe = b"data: {encoding: cp1250}"
    data = b"prompt,completion\n" + b"\n".join(lines)
    assert check(data, recipe=recipe, file_name="train.csv").errors == ["not_utf8"]


@pytest.mark.parametrize("name", ["windows1250x", "rot13", "base64", "undefined", "''", "7"])
def test_an_encoding_that_is_none_is_an_error_of_the_recipe(check, rows, name) -> None:
    assert check(rows(60), rows(20, start=100), f"data: {{encoding: {name}}}".encode()).errors == ["recipe_value"]
