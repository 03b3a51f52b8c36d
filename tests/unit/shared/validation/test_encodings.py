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


# Tables in the encodings of Excel, editors and old systems: sentences, and what they are saved in.
SAVED: dict[str, tuple[str, tuple[str, ...]]] = {
    "Polish": (
        "cp1250",
        ("Prosz\u0119 wymieni\u0107 \u0142o\u017cysko pompy", "Czy mog\u0119 zmieni\u0107 has\u0142o?"),
    ),
    "Czech": (
        "cp1250",
        ("Kde je \u010derpadlo v hale \u010d\u00edslo t\u0159i?", "Pros\u00edm vym\u011b\u0148te lo\u017eisko"),
    ),
    "Hungarian": (
        "cp1250",
        (
            "A szivatty\u00fa m\u0171k\u00f6dik a csarnokban",
            "K\u00e9rj\u00fck cser\u00e9lje ki a csap\u00e1gyat \u0151szig",
        ),
    ),
    "Turkish": (
        "cp1254",
        (
            "L\u00fctfen vanay\u0131 kapat\u0131n te\u015fekk\u00fcrler",
            "Pompa a\u011fa\u00e7lar\u0131n yan\u0131nda m\u0131?",
        ),
    ),
    "German": (
        "cp1252",
        (
            "Bitte die \u00d6ffnung pr\u00fcfen und schlie\u00dfen",
            "Wo ist die gr\u00f6\u00dfte Pumpe \u00fcber dem Tank?",
        ),
    ),
    "French": (
        "cp1252",
        (
            "O\u00f9 est la pompe \u00e0 c\u00f4t\u00e9 du r\u00e9servoir ?",
            "L\u2019ing\u00e9nieur a r\u00e9par\u00e9 la vanne",
        ),
    ),
    "English": (
        "cp1252",
        ("The press doesn\u2019t start \u2013 why?", "Check the \u201cmain\u201d fuse of the caf\u00e9"),
    ),
    "German on a Mac": (
        "mac_roman",
        ("Bitte die \u00d6ffnung pr\u00fcfen und schlie\u00dfen", "Wo ist die gr\u00f6\u00dfte Pumpe?"),
    ),
    "French on a Mac": (
        "mac_roman",
        ("O\u00f9 est la pompe \u00e0 c\u00f4t\u00e9 du r\u00e9servoir ?", "Il a r\u00e9par\u00e9 la vanne"),
    ),
    "Russian": (
        "cp1251",
        (
            "\u0413\u0434\u0435 \u043d\u0430\u0445\u043e\u0434\u0438\u0442\u0441\u044f \u043d\u0430\u0441\u043e\u0441?",
            "\u0417\u0430\u043a\u0440\u043e\u0439\u0442\u0435 \u043a\u043b\u0430\u043f\u0430\u043d",
        ),
    ),
    "Greek": (
        "cp1253",
        (
            "\u03a0\u03bf\u03cd \u03b5\u03af\u03bd\u03b1\u03b9 \u03b7 \u03b1\u03bd\u03c4\u03bb\u03af\u03b1",
            "\u0391\u03bb\u03bb\u03ac\u03be\u03c4\u03b5 \u03c4\u03bf",
        ),
    ),
    "Japanese": (
        "cp932",
        (
            "\u30dd\u30f3\u30d7\u306f\u3069\u3053\u3067\u3059\u304b",
            "\u30d0\u30eb\u30d6\u3092\u9589\u3081\u3066\u304f\u3060\u3055\u3044",
        ),
    ),
    "Japanese among English": (
        "cp932",
        ("Part 5 \u306e\u5834\u6240\u306f", "Hall 3 \u3067\u3059", "error 42 \u3092\u78ba\u8a8d"),
    ),
    "Chinese": (
        "gb18030",
        ("\u6cf5\u5728\u54ea\u91cc", "\u8bf7\u66f4\u6362\u8f74\u627f\u5e76\u5173\u95ed\u9600\u95e8"),
    ),
    "Korean": (
        "cp949",
        (
            "\ud38c\ud504\ub294 \uc5b4\ub514\uc5d0 \uc788\uc2b5\ub2c8\uae4c",
            "\ubc38\ube0c\ub97c \ub2eb\uc73c\uc2ed\uc2dc\uc624",
        ),
    ),
    "Chinese of Taiwan": (
        "big5",
        ("\u6cf5\u5728\u54ea\u88e1", "\u8acb\u66f4\u63db\u8ef8\u627f\u4e26\u95dc\u9589\u95a5\u9580"),
    ),
}
HEADERS = {"plain": "prompt,completion", "below a title": "Export of May,\nprompt,completion"}


def saved(sentences: tuple[str, ...], plain: int = 0, header: str = "prompt,completion") -> str:
    """A table of 60 rows, of which the first are ASCII."""
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
