"""Files served as they are: which of a folder, with which type, and when a browser has one already."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

from functions.http.errors import install
from functions.http.static_files import HEADERS, serve

ETAG = f'"{hashlib.sha256(b"<html>").hexdigest()[:32]}"'
TYPES = {"a.html": "text/html", "b.css": "text/css", "c.js": "text/javascript", "d.svg": "image/svg+xml"}


@pytest.fixture
def browser(tmp_path: Path) -> TestClient:
    """Of a page whose files are in two folders."""
    folders = tmp_path / "first", tmp_path / "second"
    for folder, names in zip(folders, ([*TYPES, "index.html"], ["index.html", "e.py", "f", "g.html.bak"]), strict=True):
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(b"<html>" if folder == folders[1] else name.encode())
    router, app = APIRouter(), FastAPI()
    serve(router, "/", "/static", "default-src 'self'", *folders)
    app.include_router(router)
    install(app)
    return TestClient(app)


def test_a_folders_files_of_a_known_type_are_served(browser: TestClient) -> None:
    answers = {name: browser.get(f"/static/{name}") for name in TYPES}
    assert {name: given.headers["content-type"].split(";")[0] for name, given in answers.items()} == TYPES
    assert [given.content for given in answers.values()] == [name.encode() for name in TYPES]
    assert len({given.headers["etag"] for given in answers.values()}) == 4
    assert [browser.get(f"/static/{name}").status_code for name in ("e.py", "f", "g.html.bak")] == [404] * 3


@pytest.mark.parametrize(
    ("if_none_match", "status"),
    [("", 200), (ETAG, 304), (f"W/{ETAG}", 304), (f'"x", W/{ETAG}', 304), ('"abcd"', 200), (ETAG.strip('"'), 200)],
)
def test_a_browser_that_has_the_file_gets_304_with_the_same_headers(
    browser: TestClient, if_none_match: str, status: int
) -> None:
    """The later folder's file is the one of two with a name."""
    given = browser.get("/", headers={"if-none-match": if_none_match})
    assert (given.status_code, given.content) == (status, b"" if status == 304 else b"<html>")
    expected = {**HEADERS, "Content-Security-Policy": "default-src 'self'", "ETag": ETAG}
    assert {name: given.headers[name] for name in expected} == expected
