"""Entra tokens, signed here with our own key."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request

from functions.http.auth import APPROVER, OPERATOR, READER, Caller, EntraAuth, LoopbackAuth, make_authenticator, may
from functions.http.errors import ApiError
from shared.domain.errors import InvalidInput
from shared.domain.model import MAX_PERSON

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
TENANT = "11111111-2222-3333-4444-555555555555"
ISSUER = f"https://login.example/{TENANT}/v2.0"
GOOD: dict[str, Any] = {
    "iss": ISSUER,
    "aud": "api://droptune",
    "tid": TENANT,
    "sub": "someone",
    "preferred_username": "ada@contoso.example",
    "roles": [READER],
}


def ask(claims: dict[str, Any], key: Any = KEY) -> Caller:
    token = jwt.encode({"exp": time.time() + 60, **claims}, key, algorithm="RS256")
    return EntraAuth(ISSUER, "api://droptune", lambda _: KEY.public_key())(request(f"Bearer {token}"))


def request(authorization: str) -> Request:
    return Request({"type": "http", "headers": [(b"authorization", authorization.encode())]})


def test_a_good_token_names_the_caller_and_its_roles() -> None:
    assert ask(GOOD) == Caller("ada@contoso.example", frozenset({READER}))


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"azp": "app-1"}, "app-1"),
        ({"appid": "app-1"}, "app-1"),
        ({"azp": "app-2", "appid": "app-1"}, "app-2"),
        ({"azp": "azure-cli", "scp": "access"}, "someone"),  # a user whose token has no name is not the program
        ({"azp": "azure-cli", "scp": "access", "preferred_username": "ada@x.example"}, "ada@x.example"),
        ({"appid": "", "azp": None}, "someone"),
        ({}, "someone"),
    ],
)
def test_an_app_is_named_by_its_id_and_a_user_never_by_the_program_they_use(claims: dict[str, Any], name: str) -> None:
    token = {key: value for key, value in GOOD.items() if key != "preferred_username"} | claims
    assert ask(token).name == name


def test_a_name_is_as_long_as_one_in_an_event_may_be() -> None:
    assert len(ask({**GOOD, "preferred_username": "x" * 100_000}).name) == MAX_PERSON


def test_a_token_proves_a_name_whatever_its_case_and_loopback_proves_none() -> None:
    ada = ask(GOOD)
    assert ada.is_authenticated_as("Ada@contoso.example")
    assert not ada.is_authenticated_as("grace@contoso.example")
    assert not ada.is_authenticated_as(None), "a dropped file has no requester"
    local = LoopbackAuth()(Request({"type": "http", "headers": [(b"host", b"127.0.0.1")], "path": "/"}))
    assert local == Caller("local", frozenset({READER, OPERATOR, APPROVER}), authenticated=False)
    assert not local.is_authenticated_as("local")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"aud": "api://other"}, "invalid_token"),
        ({"iss": "https://login.example/other/v2.0"}, "invalid_token"),
        ({"exp": 1}, "invalid_token"),
        ({"tid": "99999999-0000-0000-0000-000000000000"}, "foreign_tenant"),
    ],
)
def test_a_token_that_is_wrong_in_one_thing_is_refused(change: dict[str, Any], code: str) -> None:
    with pytest.raises(ApiError) as refused:
        ask({**GOOD, **change})
    assert (refused.value.status, refused.value.problem.code) == (401, code)


def test_a_token_signed_by_another_key_is_refused() -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(ApiError) as refused:
        ask(GOOD, other)
    assert (refused.value.status, refused.value.problem.code) == (401, "invalid_token")


@pytest.mark.parametrize("authorization", ["", "Bearer", "Basic abc"])
def test_no_bearer_token_is_401(authorization: str) -> None:
    auth = EntraAuth(ISSUER, "api://droptune", lambda _: KEY.public_key())
    with pytest.raises(ApiError) as refused:
        auth(request(authorization))
    assert (refused.value.status, refused.value.problem.code) == (401, "no_token")


def test_a_role_the_token_lacks_is_403() -> None:
    with pytest.raises(ApiError) as refused:
        may(OPERATOR)(Caller("ada", frozenset({READER})))
    assert (refused.value.status, refused.value.problem.code) == (403, "role_needed")


@pytest.mark.parametrize("url", ["", "http://login.example/t/v2.0?audience=a", "https://login.example/t/v2.0"])
def test_an_auth_url_without_https_issuer_and_audience_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="bad_auth_url"):
        make_authenticator(url)
