"""Entra tokens, signed here with our own key."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request

from functions.http.auth import (
    ADMINISTRATOR,
    APPROVER,
    OPERATOR,
    READER,
    Access,
    Caller,
    EntraAuth,
    LoopbackAuth,
    make_authenticator,
)
from functions.http.errors import ApiError
from shared.domain.errors import InvalidInput
from shared.domain.model import MAX_PERSON
from shared.domain.policy import PlatformPolicy

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
TENANT = "11111111-2222-3333-4444-555555555555"
ISSUER = f"https://login.example/{TENANT}/v2.0"
GOOD: dict[str, Any] = {
    "iss": ISSUER,
    "aud": "api://droptune",
    "tid": TENANT,
    "sub": "someone",
    "oid": "object-1",
    "preferred_username": "ada@contoso.example",
    "scp": "access",
    "roles": [READER],
}


def ask(claims: dict[str, Any], key: Any = KEY) -> Caller:
    token = jwt.encode({"exp": time.time() + 60, **claims}, key, algorithm="RS256")
    return EntraAuth(ISSUER, "api://droptune", lambda _: KEY.public_key())(request(f"Bearer {token}"))


def request(authorization: str) -> Request:
    return Request({"type": "http", "headers": [(b"authorization", authorization.encode())]})


def test_a_good_token_names_the_caller_and_its_roles() -> None:
    assert ask(GOOD) == Caller("ada@contoso.example", frozenset({READER}), id="object-1")


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
    token = {key: value for key, value in GOOD.items() if key not in ("preferred_username", "scp")} | claims
    assert ask(token).name == name


@pytest.mark.parametrize(
    ("claims", "is_person"),
    [
        ({}, True),
        ({"azp": "azure-cli"}, True),
        ({"idtyp": "user", "scp": None}, True),
        ({"scp": None, "azp": "ci"}, False),
        ({"scp": None, "preferred_username": "alice"}, False),
        ({"idtyp": "app"}, False),
        ({"idtyp": "device"}, False),
        ({"idtyp": None}, False),
        ({"oid": None}, False),  # the same person's next token may have one
    ],
)
def test_four_eyes_are_those_of_users_that_entra_knows_by_object_id(claims: dict[str, Any], is_person: bool) -> None:
    caller = ask({**GOOD, **claims})
    assert caller.person_id == ("object-1" if is_person else "")
    assert (caller.uploader is not None) is is_person


def test_a_name_is_as_long_as_one_in_an_event_may_be() -> None:
    assert len(ask({**GOOD, "preferred_username": "x" * 100_000}).name) == MAX_PERSON


def test_a_person_is_who_entra_says_by_object_id_whatever_their_name_is_now() -> None:
    before = ask(GOOD)
    renamed = ask({**GOOD, "preferred_username": "Ada.Lovelace@contoso.example"})
    nameless = ask({key: value for key, value in GOOD.items() if key != "preferred_username"})
    another = ask({**GOOD, "oid": "object-2"})  # who got the name of somebody who left
    assert before.id == renamed.id == nameless.id == "object-1"
    assert another.id == "object-2"


@pytest.mark.parametrize(
    ("member", "among"),
    [("object-1", True), ("g-1", False), ("group:g-1", True), ("group:object-1", False), ("g", False)],
)
def test_a_group_is_no_person_whatever_it_is_called(member: str, among: bool) -> None:
    assert Caller("ada", frozenset(), "object-1", frozenset({"g-1"})).names.isdisjoint([member]) is not among


@pytest.mark.parametrize("role", [READER, OPERATOR, APPROVER, ADMINISTRATOR])
@pytest.mark.parametrize("claim", ["groups", "oid"])
def test_what_is_called_as_a_role_and_is_none_gives_no_right(claim: str, role: str) -> None:
    named = {"groups": [role, "g-1"]} if claim == "groups" else {"oid": role}
    caller = ask({**GOOD, "roles": [], **named})
    assert role not in caller.names
    assert not Access(caller, role, PlatformPolicy).somewhere()


@pytest.mark.parametrize("claim", ["roles", "groups"])
@pytest.mark.parametrize("value", [None, 7, "reader", {"reader": 1}, [None, 7]])
def test_a_claim_of_another_shape_gives_no_right(claim: str, value: Any) -> None:
    found = ask({**GOOD, claim: value})
    assert (found.roles if claim == "roles" else found.groups) == frozenset()


def test_on_a_laptop_a_header_says_who_somebody_is_and_only_the_nameless_one_administers() -> None:
    def local(*headers: tuple[bytes, bytes]) -> Caller:
        host = (b"host", b"127.0.0.1")
        return LoopbackAuth()(Request({"type": "http", "headers": [host, *headers], "path": "/"}))

    assert local() == Caller("local", frozenset({READER, OPERATOR, APPROVER, ADMINISTRATOR}), id="local")
    assert local((b"x-droptune-user", b"local")) == local(), "the same person, however it is named"
    assert local((b"x-droptune-user", b"bob")) == Caller("bob", frozenset({READER, OPERATOR, APPROVER}), id="bob")


HERE, ITSELF = ("127.0.0.1", 5), {"host": "127.0.0.1:7071"}


@pytest.mark.parametrize(
    ("client", "headers", "code"),
    [
        (HERE, ITSELF, None),
        (None, ITSELF, None),
        (("::1", 5), {"host": "[::1]:7071", "origin": "http://[::1]:7071"}, None),
        (HERE, {"host": "localhost", "origin": "http://localhost"}, None),
        (("203.0.113.9", 5), {"host": "localhost"}, "not_loopback"),
        (HERE, {"host": ""}, "not_loopback"),
        (HERE, {}, "not_loopback"),
        (HERE, {"host": "[::1"}, "not_loopback"),
        (HERE, {"host": "localhost@evil.example"}, "not_loopback"),
        (HERE, {"host": "evil.example", "Host": "localhost"}, "not_loopback"),
        (None, {**ITSELF, "x-forwarded-for": "203.0.113.9"}, "not_loopback"),
        (HERE, {**ITSELF, "forwarded": "for=203.0.113.9"}, "not_loopback"),
        (HERE, {**ITSELF, "origin": "http://127.0.0.1:9999"}, "foreign_origin"),
        (HERE, {**ITSELF, "origin": "http://localhost:7071"}, "foreign_origin"),
        (HERE, {**ITSELF, "origin": "https://evil.example"}, "foreign_origin"),
        (HERE, {**ITSELF, "origin": "null"}, "foreign_origin"),
        (HERE, {**ITSELF, "origin": "http://["}, "foreign_origin"),
        (HERE, {**ITSELF, "origin": "ftp://127.0.0.1:7071"}, "foreign_origin"),
        (HERE, {**ITSELF, "origin": ""}, "foreign_origin"),
    ],
)
def test_without_authentication_only_this_machine_and_its_own_page_ask(
    client: tuple[str, int] | None, headers: dict[str, str], code: str | None
) -> None:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    # Starlette takes this for the name of the host where the header is empty.
    made = Request({"type": "http", "headers": raw, "path": "/", "client": client, "server": ("127.0.0.1", 7071)})
    if code is None:
        assert LoopbackAuth()(made).id == "local"
        return
    with pytest.raises(ApiError) as refused:
        LoopbackAuth()(made)
    assert (refused.value.status, refused.value.problem.code) == (403, code)


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
        Access(Caller("ada", frozenset({READER})), OPERATOR, PlatformPolicy).require(None)
    assert (refused.value.status, refused.value.problem.code) == (403, "role_needed")


@pytest.mark.parametrize("url", ["", "http://login.example/t/v2.0?audience=a", "https://login.example/t/v2.0"])
def test_an_auth_url_without_https_issuer_and_audience_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="bad_auth_url"):
        make_authenticator(url)
