"""The API as tools for agents, over the streamable HTTP transport, with the official client."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import httpx2
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from functions.http.auth import APPROVER, LOCAL_USER, OPERATOR, READER, Authenticator, Caller, LoopbackAuth
from shared.domain.events import ApprovalGranted
from shared.domain.run import Status
from shared.ports import Services
from shared.runner import Runner
from tests.unit.functions.http.support import awaiting_approval
from tests.unit.shared.support import events_at

HOST = "http://127.0.0.1"


def as_agent(
    api: FastAPI,
    services: Services,
    talk: Callable[[Client], Awaitable[Any]],
    query: str = "",
    user: str = "local",
    authenticator: Authenticator | None = None,
) -> Any:
    """What `talk` returns, of a client of the official SDK that reaches the app without a network."""
    known = authenticator or LoopbackAuth()
    api.state.services, api.state.authenticator = lambda: services, lambda: known

    async def connect() -> Any:
        transport = httpx2.ASGITransport(api, client=("127.0.0.1", 1))
        async with (
            httpx2.AsyncClient(transport=transport, base_url=HOST, headers={LOCAL_USER: user}) as http,
            Client(streamable_http_client(f"{HOST}/api/mcp{query}", http_client=http)) as client,
        ):
            return await talk(client)

    return anyio.run(connect)


async def _names(client: Client) -> dict[str, bool]:
    tools = (await client.list_tools()).tools
    return {tool.name: bool(tool.annotations and tool.annotations.read_only_hint) for tool in tools}


def test_an_agent_may_only_read_unless_it_asks_for_acts(api: FastAPI, services: Services) -> None:
    reading, acting = as_agent(api, services, _names), as_agent(api, services, _names, "?acts=true")
    routes = [context.original_route for context in iter_route_contexts(api.routes)]
    shown = [one for one in routes if isinstance(one, APIRoute) and one.include_in_schema and one.path[:5] == "/api/"]
    shown = [
        one for one in shown if one.tags != ["inbound events"]
    ]  # for other systems: no body, or a secret in answers
    assert reading == {one.name: True for one in shown if one.methods == {"GET"}}
    assert acting == {one.name: one.methods == {"GET"} for one in shown}
    assert len(shown) == len(acting)  # no two have one name


def test_a_tool_answers_as_its_route(api: FastAPI, services: Services) -> None:
    run = awaiting_approval(services)

    async def talk(client: Client) -> list[Any]:
        return [
            await client.call_tool("get_run", {"run_id": run.id}),
            await client.call_tool("list_runs", {"project": run.project, "limit": 1}),
            await client.call_tool("get_run", {"run_id": "run-000000000000"}),
        ]

    found, listed, missing = as_agent(api, services, talk)
    assert json.loads(found.content[0].text)["status"] == "awaiting_approval"
    assert [one["id"] for one in json.loads(listed.content[0].text)["data"]] == [run.id]
    assert missing.is_error
    assert json.loads(missing.content[0].text)["error"]["code"] == "run_not_found"


async def _approve(client: Client, run_id: str) -> Any:
    return await client.call_tool("approve_run", {"run_id": run_id, "body": {"comment": "fine"}})


def _refusal(result: Any) -> str:
    assert result.is_error
    return str(json.loads(result.content[0].text)["error"]["code"])


def test_approving_without_the_role_is_refused_and_changes_nothing(api: FastAPI, services: Services) -> None:
    run = awaiting_approval(services)
    agent = Caller("agent", frozenset({READER, OPERATOR}), id="agent", is_person=False)
    approve = partial(_approve, run_id=run.id)
    assert _refusal(as_agent(api, services, approve, "?acts=true", authenticator=lambda _: agent)) == "role_needed"
    app = replace(agent, roles=frozenset({READER, APPROVER}))
    assert _refusal(as_agent(api, services, approve, "?acts=true", authenticator=lambda _: app)) == "unknown_person"
    assert Runner(services).load(run.id) == run


def test_a_persons_agent_approves_as_that_person(api: FastAPI, services: Services) -> None:
    run = awaiting_approval(services, requested_by="ada")
    approve = partial(_approve, run_id=run.id)
    assert _refusal(as_agent(api, services, approve, "?acts=true", user="ada")) == "self_approval"
    assert not as_agent(api, services, approve, "?acts=true", user="grace").is_error
    (granted,) = events_at(services, "record_decision")
    assert isinstance(granted.data, ApprovalGranted)
    assert (granted.data.by, granted.data.comment) == ("grace", "fine")


def test_an_agent_that_only_reads_cannot_act(api: FastAPI, services: Services) -> None:
    run = awaiting_approval(services)
    result = as_agent(api, services, lambda client: client.call_tool("cancel_run", {"run_id": run.id}))
    assert result.is_error
    assert Runner(services).load(run.id).status is Status.AWAITING_APPROVAL  # type: ignore[union-attr]


def test_a_file_is_dropped_as_text(api: FastAPI, services: Services) -> None:
    row = '{"messages": [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "é"}]}\n'
    arguments = {"project": "shop", "name": "train.jsonl", "text": row}
    result = as_agent(api, services, lambda client: client.call_tool("put_dataset", arguments), "?acts=true")
    assert not result.is_error
    assert b"".join(services.blobs.read("datasets/shop/train.jsonl")) == row.encode()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("no_such_tool", {}),
        ("get_run", {}),
        ("get_run", {"run_id": "x", "other": 1}),
        ("get_run", {"run_id": "../../policy"}),
        ("get_run", {"run_id": ["a"]}),
        ("list_runs", {"limit": "many"}),
    ],
    ids=repr,
)
def test_arguments_that_no_route_takes_are_errors_of_the_call(
    api: FastAPI, services: Services, name: str, arguments: dict[str, Any]
) -> None:
    result = as_agent(api, services, lambda client: client.call_tool(name, arguments))
    assert result.is_error
    assert result.content[0].text


def test_nobody_without_a_role_reaches_the_tools(api: FastAPI, services: Services) -> None:
    api.state.services, api.state.authenticator = lambda: services, LoopbackAuth

    async def ask(method: str, host: str) -> int:
        transport = httpx2.ASGITransport(api, client=("127.0.0.1", 1))
        async with httpx2.AsyncClient(transport=transport, base_url=host) as http:
            return (await http.request(method, "/api/mcp", json={})).status_code

    assert anyio.run(ask, "POST", "http://elsewhere.example") == 403
    assert anyio.run(ask, "GET", HOST) == 405
