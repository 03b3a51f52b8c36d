"""Where the API is, and to whom the token goes."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from cli.client import Api, RequestRefused, Unreachable, find_url
from tests.paths import ROOT
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


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DROPTUNE_TOKEN", "DROPTUNE_AUDIENCE"):
        monkeypatch.delenv(name, raising=False)


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


class SignedIn:
    """Of azure-identity: tokens t1, t2, ... of an hour each, and what they were asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, lasts_s: float = 3600) -> None:
        self.scopes: list[str] = []
        self.lasts_s = lasts_s
        monkeypatch.setattr("azure.identity.DefaultAzureCredential", lambda: self)

    def get_token(self, *scopes: str) -> AccessToken:
        self.scopes += scopes
        return AccessToken(f"t{len(self.scopes)}", int(time.time() + self.lasts_s))


def refusing(*tokens: str) -> tuple[list[str], httpx.MockTransport]:
    """An API that takes these tokens no more; the list has what it was sent."""
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        request.read()
        seen.append(request.headers.get("authorization", "").removeprefix("Bearer "))
        if seen[-1] in ("", *tokens):
            return httpx.Response(401, json={"error": {"code": "invalid_token", "message": "expired"}})
        return httpx.Response(200, json={"status": "ok", "version": "0.1.0"})

    return seen, httpx.MockTransport(answer)


@pytest.mark.parametrize("before", [None, "t0"], ids=["signed in", "with a token that ran out"])
def test_a_token_that_the_api_refuses_is_renewed_once(monkeypatch: pytest.MonkeyPatch, before: str | None) -> None:
    """A watch over hours survives the end of its token."""
    if before is not None:
        monkeypatch.setenv("DROPTUNE_TOKEN", before)
    monkeypatch.setenv("DROPTUNE_AUDIENCE", "api://droptune")
    signed_in, (seen, transport) = SignedIn(monkeypatch), refusing("t0", "t1") if before is None else refusing("t0")
    with Api("https://droptune.example.org", transport) as api:
        for _ in range(3):
            api.health()
    first = before or "t1"
    new = "t2" if before is None else "t1"
    assert seen == [first, new, new, new]
    assert set(signed_in.scopes) == {"api://droptune/.default"}


def test_a_token_is_renewed_before_it_ends_and_kept_until_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPTUNE_AUDIENCE", "api://droptune")
    signed_in, (seen, transport) = SignedIn(monkeypatch), refusing()
    with Api("https://droptune.example.org", transport) as api:
        api.health()
        api.health()
        now = time.time
        monkeypatch.setattr("cli.client.time.time", lambda: now() + 3400)
        api.health()
        api.health()
    assert (seen, len(signed_in.scopes)) == (["t1", "t1", "t2", "t2"], 2)


def test_a_second_refusal_is_an_error_as_is_a_token_that_nothing_can_renew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPTUNE_TOKEN", "t0")
    seen, transport = refusing("t0", "t1")
    for expected in (["t0"], ["t0", "t0", "t1"]):
        with Api("https://droptune.example.org", transport) as api, pytest.raises(RequestRefused, match="expired"):
            api.health()
        assert seen == expected
        SignedIn(monkeypatch)
        monkeypatch.setenv("DROPTUNE_AUDIENCE", "api://droptune")


def test_a_file_is_never_sent_again_half_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPTUNE_AUDIENCE", "api://droptune")
    SignedIn(monkeypatch)
    seen, transport = refusing("t1")
    with Api("https://droptune.example.org", transport) as api, pytest.raises(RequestRefused, match="expired"):
        api.put_dataset("shop", "train.jsonl", io.BytesIO(b"{}"))
    assert seen == ["t1"]


def test_who_is_not_signed_in_learns_how(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class SignedOut:
        def get_token(self, *scopes: str) -> AccessToken:
            raise ClientAuthenticationError("Please run 'az login' to set up an account")

    monkeypatch.setenv("DROPTUNE_AUDIENCE", "api://droptune")
    monkeypatch.setattr("azure.identity.DefaultAzureCredential", SignedOut)
    with Api("https://droptune.example.org", refusing()[1]) as api, pytest.raises(RequestRefused) as refused:
        api.health()
    assert (refused.value.status_code, refused.value.problem.code) == (401, "no_token")
    assert "sign in with `az login`" in refused.value.problem.message


def test_of_all_ways_to_sign_in_the_error_has_what_the_azure_cli_says_and_nothing_twice(tmp_path: Path) -> None:
    (az := tmp_path / "az").write_text("#!/bin/sh\necho 'ERROR: AADSTS50105: not assigned to a role' >&2; exit 1\n")
    az.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "DROPTUNE_AUDIENCE": "api://droptune", "HOME": str(tmp_path)}
    # Without the question for a managed identity, which goes to the network.
    environ |= {"AZURE_TOKEN_CREDENTIALS": "dev", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "cli", "runs", "--url", "https://droptune.example.org"]
    done = subprocess.run(command, env=environ, text=True, capture_output=True, check=False)
    expected = "AzureCliCredential: ERROR: AADSTS50105: not assigned to a role (DROPTUNE_AUDIENCE)\n"
    assert done.stderr == f"no_token: no token for api://droptune, sign in with `az login`: {expected}"
    assert done.returncode == 1


def test_an_app_elsewhere_is_not_started_by_make_up() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with Api("https://app.example.org", httpx.MockTransport(refuse)) as api, pytest.raises(Unreachable) as raised:
        api.health()
    assert str(raised.value).endswith("https://app.example.org; see that the URL is right and the app runs")


def test_no_command_imports_azure_identity_before_it_is_needed() -> None:
    code = "import sys, cli.main; sys.exit('azure.identity' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


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
