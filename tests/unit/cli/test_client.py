"""Where the API is, and to whom the token goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from cli.client import Api, Unreachable, find_url
from tests.unit.cli.fake_api import FakeDroptune


def test_the_stack_of_this_folder_is_found(
    fake: FakeDroptune, droptune: Callable[..., int], monkeypatch: pytest.MonkeyPatch, served: tuple[object, str]
) -> None:
    monkeypatch.delenv("DROPTUNE_URL")
    stopped, running = Path(".droptune/stack.json"), Path(".droptune/demo/stack.json")
    running.parent.mkdir(parents=True)
    stopped.write_text('{"api_url": null}')
    running.write_text(json.dumps({"api_url": served[1]}))
    assert droptune("runs") == 0


@pytest.mark.parametrize(
    ("url", "sent"), [("https://droptune.example.org", "Bearer secret"), ("http://droptune.example.org", None)]
)
def test_the_token_is_sent_over_https_only(url: str, sent: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPTUNE_TOKEN", "secret")
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return httpx.Response(200, json={"status": "ok", "version": "0.1.0"})

    with Api(url, httpx.MockTransport(answer)) as api:
        api.health()
    assert seen == [sent]


def test_outside_of_a_clone_the_error_says_where_to_run_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DROPTUNE_URL", raising=False)
    with pytest.raises(Unreachable, match=r"which has no \.droptune/stack\.json; run the command where you ran"):
        find_url(None, tmp_path)
    (tmp_path / ".droptune").mkdir()
    (tmp_path / ".droptune/stack.json").write_text("{}")
    with pytest.raises(Unreachable, match="start it with `make up`"):
        find_url(None, tmp_path)
