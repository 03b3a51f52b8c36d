"""Files into the drop zone, and the schema of a recipe."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from shared.ports import Services


def test_a_file_is_put_into_the_drop_zone_whole(client: TestClient, services: Services) -> None:
    answer = client.put("/api/datasets/shop/train.jsonl", content=b"x" * 100_000)
    assert answer.status_code == 201
    info = services.blobs.info("datasets/shop/train.jsonl")
    assert info is not None
    assert info.size_bytes == 100_000


def test_a_large_file_is_not_written_on_the_event_loop_that_answers_all_others(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, on_a_loop = services.blobs.write, []

    def seen(*arguments: Any, **named: Any) -> Any:
        with suppress(RuntimeError):  # there is none in this thread
            on_a_loop.append(asyncio.get_running_loop())
        return write(*arguments, **named)

    monkeypatch.setattr(services.blobs, "write", seen)
    assert client.put("/api/datasets/shop/train.jsonl", content=b"x").status_code == 201
    files = {"file": ("train.jsonl", b"{}")}
    assert client.post("/v1/files", data={"purpose": "fine-tune"}, files=files).status_code == 200
    assert on_a_loop == []


@pytest.mark.parametrize(
    ("path", "code"),
    [("/api/datasets/Bad_Name/train.jsonl", "project_name"), ("/api/datasets/shop/.hidden", "file_name")],
)
def test_a_file_with_a_bad_name_is_refused(client: TestClient, path: str, code: str) -> None:
    answer = client.put(path, content=b"x")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


@pytest.mark.parametrize(
    ("name", "proposed"),
    [
        *(("ward notes.jsonl", "ward-notes.jsonl"), ("Schulung M\u00e4rz.jsonl", "Schulung-Marz.jsonl")),
        *(("\u8bad\u7ec3.jsonl", "data.jsonl"), (".hidden", "data.hidden"), ("-a(1).csv", "a-1-.csv")),
        *(("\u8bad", "data"), ("n" * 200 + ".csv", "n" * 116 + ".csv"), ("_eval%.csv", "eval-.csv")),
    ],
)
def test_a_name_that_is_refused_comes_with_one_that_is_taken(client: TestClient, name: str, proposed: str) -> None:
    answer = client.put(f"/api/datasets/shop/{quote(name)}", content=b"x")
    message = answer.json()["error"]["message"]
    assert (answer.status_code, message.rpartition(" ")[2]) == (400, proposed)
    assert "begins with a letter (a to z) or digit" in message
    assert client.put(f"/api/datasets/shop/{proposed}", content=b"x").status_code == 201


def test_the_recipe_has_a_published_schema(client: TestClient) -> None:
    assert client.get("/api/recipes/schema").json()["properties"]["base_model"]["description"] == "catalog id"
