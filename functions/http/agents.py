"""`/api/mcp`: the API as tools for agents, by the streamable HTTP transport of MCP without sessions."""

from typing import Any

import httpx
from fastapi import APIRouter, Request, Response
from starlette.types import Receive, Scope, Send

from functions.http.auth import LOCAL_USER, Reader

router = APIRouter(prefix="/api", tags=["agents"])

# Of the agent's request, what says who it is, and from where.
_PASSED_ON = ("authorization", "host", "origin", LOCAL_USER)


class _Served(Response):
    """An answer that the SDK writes."""

    def __init__(self, request: Request, acts: bool) -> None:
        super().__init__()
        self._request, self._acts = request, acts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        from shared.api.agent_tools import make_server, tools_of

        request, app = self._request, self._request.app
        headers = {name: value for name in _PASSED_ON if (value := request.headers.get(name)) is not None}
        client = (request.client.host, request.client.port) if request.client else ("", 0)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=client)
        async with httpx.AsyncClient(transport=transport, base_url=str(request.base_url), headers=headers) as api:

            async def ask(method: str, path: str, parts: dict[str, Any]) -> tuple[int, str]:
                answer = await api.request(method, path, **parts)
                return answer.status_code, answer.text

            server = make_server(app.version, tools_of(app.openapi(), ask, acts=self._acts))
            manager = StreamableHTTPSessionManager(server, json_response=True, stateless=True)
            async with manager.run():
                await manager.handle_request(scope, receive, send)


@router.post("/mcp", include_in_schema=False)
async def serve_agent(request: Request, _: Reader, acts: bool = False) -> Response:
    """Tools that read; with `acts=true` those that change something too. A tool's call needs the role of its route."""
    return _Served(request, acts)
