"""The dashboard's files; what the page does is in tests/browser/."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient

from functions.http.static_files import DASHBOARD_POLICY


def test_the_page_and_each_of_its_parts_are_served_under_the_policy(client: TestClient) -> None:
    page = client.get("/")
    parts = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
    assert parts
    for answer in (page, *map(client.get, parts)):
        assert (answer.status_code, answer.headers["content-security-policy"]) == (200, DASHBOARD_POLICY)
        again = client.get(answer.url, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["gone.js", "__init__.py", "%2e%2e%2fauth.py"])
def test_no_other_file_is_served(client: TestClient, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404
