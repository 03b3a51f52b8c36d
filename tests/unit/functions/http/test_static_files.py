"""Files served as they are: which of a folder, with which type, and when a browser has one already."""

from __future__ import annotations

from pathlib import Path

import pytest

from functions.http.static_files import HEADERS, StaticFile, answer, read_files

FILE = StaticFile(b"<html>", "text/html; charset=utf-8", '"abc"')


def test_a_folders_files_of_a_known_type_are_read_and_no_others(tmp_path: Path) -> None:
    for name in ("a.html", "b.css", "c.js", "d.svg", "e.py", "f", "g.html.bak"):
        (tmp_path / name).write_bytes(name.encode())
    files = read_files(tmp_path)
    assert {name: file.media_type.split(";")[0] for name, file in files.items()} == {
        "a.html": "text/html",
        "b.css": "text/css",
        "c.js": "text/javascript",
        "d.svg": "image/svg+xml",
    }
    assert files["a.html"].content == b"a.html"
    assert len({file.etag for file in files.values()}) == 4


@pytest.mark.parametrize(
    ("if_none_match", "status"),
    [("", 200), ('"abc"', 304), ('W/"abc"', 304), ('"x", W/"abc"', 304), ('"abcd"', 200), ("abc", 200)],
)
def test_a_browser_that_has_the_file_gets_304_with_the_same_headers(if_none_match: str, status: int) -> None:
    given = answer(FILE, if_none_match, "default-src 'self'")
    assert (given.status_code, given.body) == (status, b"" if status == 304 else FILE.content)
    expected = {**HEADERS, "Content-Security-Policy": "default-src 'self'", "ETag": '"abc"'}
    assert {name: given.headers[name] for name in expected} == expected
