"""The operations of the HTTP API as tools of the Model Context Protocol (MCP), for agents.

They are made of the API's own OpenAPI document, and a call is a request to it: what a tool may do, who may use it and
what is noted of it are the route's. Import it where a server is made: the SDK takes a second.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

import mcp_types as types
from mcp.server.lowlevel import Server

# The method, the path, `params` (the query), `headers` and `content` of a request; the status and text of its answer.
Ask = Callable[[str, str, dict[str, Any]], Awaitable[tuple[int, str]]]
Act = Callable[[dict[str, Any]], Awaitable[tuple[int, str]]]

BODY, TEXT = "body", "text"
_REF = "#/components/schemas/"
INSTRUCTIONS = (
    "Droptune tunes base models on datasets that are put into a drop zone. Answers are those of its HTTP API. An error "
    "has a code, a message and a remedy: tell the person, do not work around it. Only a person approves a model."
)


@dataclass(frozen=True, slots=True)
class Tool:
    """What a client is shown, and what a call does."""

    shown: types.Tool
    act: Act

    @classmethod
    def local(cls, name: str, description: str, properties: dict[str, Any], act: Act, *, reads: bool) -> Self:
        """One that is no operation of the API; the first of its properties is required."""
        schema = {"type": "object", "properties": properties, "required": [next(iter(properties))]}
        return cls(_shown(name, description, {**schema, "additionalProperties": False}, reads), act)


def tools_of(document: Mapping[str, Any], ask: Ask, *, acts: bool) -> list[Tool]:
    """One tool per operation under `/api/` of an OpenAPI document that answers JSON; with `acts` those that change
    something too. OpenAI's shapes of the same operations are left out."""
    found = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            is_hook = "inbound events" in operation.get("tags", ())  # a body of any form, or a secret in the answer
            if path.startswith("/api/") and not is_hook and (acts or method == "get"):
                found.append(_tool(document, ask, method.upper(), path, operation))
    return found


def _tool(document: Mapping[str, Any], ask: Ask, method: str, path: str, operation: Mapping[str, Any]) -> Tool:
    parameters = {one["name"]: one for one in operation.get("parameters", ())}
    properties = {name: one["schema"] for name, one in parameters.items()}
    required = [name for name, one in parameters.items() if one.get("required")]
    if (body := operation.get("requestBody")) is not None:
        properties[BODY] = body["content"]["application/json"]["schema"]
        required += [BODY] if body.get("required") else []
    elif method == "PUT":  # a file, which has no schema
        properties[TEXT] = {"type": "string", "description": "the content of the file"}
        required.append(TEXT)

    async def act(arguments: dict[str, Any]) -> tuple[int, str]:
        def given(place: str) -> dict[str, str]:
            return {
                name: value if isinstance(value, str) else json.dumps(value)
                for name, value in arguments.items()
                if value is not None and name in parameters and parameters[name]["in"] == place
            }

        content = arguments.get(TEXT) if TEXT in properties else json.dumps(arguments.get(BODY))
        request: dict[str, Any] = {"params": given("query"), "headers": given("header")}
        if content is not None and (BODY in arguments or TEXT in arguments):
            request |= {"content": content.encode()}
            request["headers"]["content-type"] = "application/json" if BODY in arguments else "text/plain"
        filled = path.format(**{name: quote(value, safe="") for name, value in given("path").items()})
        return await ask(method, filled, request)

    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    text = operation.get("description") or operation["summary"]
    shown = _shown(operation["operationId"], text, _with_definitions(schema, document), reads=method == "GET")
    return Tool(shown, act)


def _shown(name: str, description: str, schema: dict[str, Any], reads: bool) -> types.Tool:
    hints = types.ToolAnnotations(read_only_hint=reads, destructive_hint=not reads)
    return types.Tool(name=name, description=description, annotations=hints, input_schema=schema)


def _with_definitions(schema: dict[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with all that it refers to in itself, as a tool's has to be."""
    definitions: dict[str, Any] = {}
    names = re.findall(f'"{_REF}([^"]+)"', json.dumps(schema))
    while names:
        if (name := names.pop()) not in definitions:
            definitions[name] = document["components"]["schemas"][name]
            names += re.findall(f'"{_REF}([^"]+)"', json.dumps(definitions[name]))
    whole = {**schema, **({"$defs": definitions} if definitions else {})}
    found: dict[str, Any] = json.loads(json.dumps(whole).replace(_REF, "#/$defs/"))
    return found


def make_server(version: str, tools: Sequence[Tool]) -> Server[Any]:
    """A server of these tools; it keeps nothing between two calls."""
    by_name = {tool.shown.name: tool for tool in tools}

    async def list_tools(_: Any, __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[tool.shown for tool in tools])

    async def call_tool(_: Any, call: types.CallToolRequestParams) -> types.CallToolResult:
        arguments = call.arguments or {}
        if (tool := by_name.get(call.name)) is None:
            return _result(404, f"no tool {call.name}; a server that only reads has no acts")
        accepted, required = tool.shown.input_schema["properties"], tool.shown.input_schema["required"]
        if wrong := [*sorted(arguments.keys() - accepted.keys()), *sorted(required - arguments.keys())]:
            return _result(400, f"{call.name} does not take, or lacks: {', '.join(wrong)}; it takes {list(accepted)}")
        return _result(*await tool.act(arguments))

    return Server(
        "droptune", version=version, instructions=INSTRUCTIONS, on_list_tools=list_tools, on_call_tool=call_tool
    )


def _result(status: int, text: str) -> types.CallToolResult:
    content = [types.TextContent(type="text", text=text if text.strip() else f"status {status}")]
    return types.CallToolResult(content=content, is_error=status >= 400)
