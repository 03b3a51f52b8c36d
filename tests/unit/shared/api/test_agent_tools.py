"""Tools made of an OpenAPI document: what a client is shown, and the request that a call becomes."""

from __future__ import annotations

from typing import Any

import anyio
import jsonschema
import pytest

from shared.api.agent_tools import tools_of

DOCUMENT: dict[str, Any] = {
    "paths": {
        "/api/things/{name}": {
            "get": {
                "operationId": "get_thing",
                "summary": "Get Thing",
                "description": "One thing.",
                "parameters": [
                    {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}},
                    {"name": "limit", "in": "query", "schema": {"type": "integer"}},
                    {"name": "if-none-match", "in": "header", "schema": {"type": "string"}},
                ],
            },
            "put": {
                "operationId": "put_thing",
                "summary": "Put Thing",
                "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
            },
            "post": {
                "operationId": "change_thing",
                "summary": "Change Thing",
                "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Change"}}},
                },
            },
        },
        "/v1/things": {"get": {"operationId": "list_openai_things", "summary": "..."}},
    },
    "components": {
        "schemas": {
            "Change": {"type": "object", "properties": {"part": {"$ref": "#/components/schemas/Part"}}},
            "Part": {"type": "object", "properties": {"parts": {"items": {"$ref": "#/components/schemas/Part"}}}},
            "Unused": {"type": "object"},
        }
    },
}


def called(operation: str, /, **arguments: Any) -> tuple[str, str, dict[str, Any]]:
    requests: list[tuple[str, str, dict[str, Any]]] = []

    async def ask(*request: Any) -> tuple[int, str]:
        requests.append(request)
        return 200, "{}"

    (tool,) = [one for one in tools_of(DOCUMENT, ask, acts=True) if one.shown.name == operation]
    jsonschema.validate(arguments, tool.shown.input_schema)
    anyio.run(tool.act, arguments)
    return requests[0]


def test_arguments_go_where_the_operation_has_them() -> None:
    request = called("get_thing", name="a/../b?x=1", **{"limit": 3, "if-none-match": '"7"'})
    parts = {"params": {"limit": "3"}, "headers": {"if-none-match": '"7"'}}
    assert request == ("GET", "/api/things/a%2F..%2Fb%3Fx%3D1", parts)


@pytest.mark.parametrize(
    ("name", "arguments", "content", "kind"),
    [
        ("change_thing", {"body": {"part": {"parts": []}}}, b'{"part": {"parts": []}}', "application/json"),
        ("put_thing", {"text": "é\n"}, "é\n".encode(), "text/plain"),
    ],
)
def test_a_body_is_sent_as_its_operation_takes_it(
    name: str, arguments: dict[str, Any], content: bytes, kind: str
) -> None:
    _, path, parts = called(name, name="a", **arguments)
    assert path == "/api/things/a"
    assert parts == {"params": {}, "headers": {"content-type": kind}, "content": content}


def test_a_tools_schema_has_all_that_it_refers_to_and_no_more() -> None:
    async def nothing(*_: Any) -> tuple[int, str]:
        return 200, ""

    by_name = {tool.shown.name: tool.shown for tool in tools_of(DOCUMENT, nothing, acts=True)}
    assert set(by_name) == {"get_thing", "put_thing", "change_thing"}
    assert set(by_name["change_thing"].input_schema["$defs"]) == {"Change", "Part"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "a", "body": {"part": 1}}, by_name["change_thing"].input_schema)
    assert [tool.shown.name for tool in tools_of(DOCUMENT, nothing, acts=False)] == ["get_thing"]
    assert by_name["get_thing"].description == "One thing."
