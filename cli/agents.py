"""`droptune mcp`: the API as tools for an agent on this machine, over standard input and output."""

import os
import subprocess
import sys
from functools import partial
from typing import Annotated, Any

import typer

from cli.client import Api, find_url
from cli.common import Exit, Url

# Tools about files of this machine, which the API cannot see: command, description, options, and whether it only reads.
_FILE = {"type": "string", "description": "path of a file on this machine"}
_TOOLS: dict[str, tuple[str, str, dict[str, Any], bool]] = {
    "validate_file": (
        "validate",
        "Check a dataset, and its recipe, as a run would; nothing is sent.",
        {"recipe": _FILE, "eval": _FILE},
        True,
    ),
    "drop_file": (
        "drop",
        "Put a file into a project's drop zone; a dataset starts a run.",
        {"project": {"type": "string"}},
        False,
    ),
}


def serve_agent(
    acts: Annotated[bool, typer.Option("--acts", help="tools that change something too, within your roles")] = False,
    url: Url = None,
) -> None:
    """Serve the API to an agent by MCP, on standard input and output. Tools only read, unless --acts is given."""
    import anyio
    from mcp.server.stdio import stdio_server

    from shared.api.agent_tools import Tool, make_server, tools_of

    async def ask(method: str, path: str, request: dict[str, Any]) -> tuple[int, str]:
        return await anyio.to_thread.run_sync(partial(api.answer, method, path, **request))

    async def run(command: str, arguments: dict[str, Any]) -> tuple[int, str]:
        return await anyio.to_thread.run_sync(_run, command, api.url, arguments)

    async def serve() -> None:
        tools = tools_of(document, ask, acts=acts)
        for name, (command, text, options, reads) in _TOOLS.items():
            if acts or reads:
                properties = {"file": _FILE, **options}
                tools.append(Tool.local(name, text, properties, partial(run, command), reads=reads))
        server = make_server(document["info"]["version"], tools)
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())

    with Api(find_url(url)) as api:
        document = api.document()
        anyio.run(serve)


def _run(command: str, url: str, arguments: dict[str, Any]) -> tuple[int, str]:
    """In a process of its own: what it prints is not the protocol's."""
    options = [f"--{name}={value}" for name, value in arguments.items() if name != "file"]
    options.append("--json" if command == "validate" else f"--url={url}")
    line = [sys.executable, "-m", "cli", command, *options, "--", str(arguments["file"])]
    plain = {**os.environ, "TYPER_USE_RICH": "0"}
    done = subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=plain, check=False)
    refused = done.returncode != 0 and not (command == "validate" and done.returncode == Exit.REFUSED and done.stdout)
    return 400 if refused else 200, done.stdout or done.stderr
