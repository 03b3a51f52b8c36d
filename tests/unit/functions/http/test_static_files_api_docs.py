"""The files of /api/docs."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient


@pytest.mark.parametrize("path", ["", "/start.js", "/swagger-ui-bundle.js", "/swagger-ui.css"])
def test_every_file_of_the_page_is_served_under_a_policy(client: TestClient, path: str) -> None:
    answer = client.get(f"/api/docs{path}")
    assert answer.status_code == 200
    scripts = [part for part in answer.headers["content-security-policy"].split("; ") if "script" in part]
    assert scripts == [], "scripts follow default-src 'self'"
    assert answer.headers["content-security-policy"].startswith("default-src 'self'; ")
    again = client.get(f"/api/docs{path}", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_page_names_no_other_host_and_has_no_inline_script(client: TestClient) -> None:
    page = client.get("/api/docs").text
    assert re.findall(r"<script(?![^>]* src=)|https?://|style=", page) == []
    for address in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert client.get(address).status_code == 200


@pytest.mark.parametrize("path", ["/redoc", "/docs", "/api/docs/gone.js", "/api/docs/__init__.py"])
def test_there_is_one_page_and_no_other_file(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
