"""`droptune mcp`, started by the official client as an agent's program starts it."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from tests.paths import ROOT
from tests.unit.cli.fake_api import FakeDroptune

RECIPE = ROOT / "recipes" / "manufacturing"


def as_agent(url: str, talk: Callable[[Client], Awaitable[Any]], *options: str) -> Any:
    line = ["-m", "cli", "mcp", "--url", url, *options]
    command = StdioServerParameters(command=sys.executable, args=line, cwd=str(ROOT))

    async def connect() -> Any:
        async with Client(command) as client:
            return await talk(client)

    return anyio.run(connect)


async def names(client: Client) -> set[str]:
    return {tool.name for tool in (await client.list_tools()).tools}


def test_files_of_this_machine_are_validated_and_with_acts_dropped(
    served: tuple[FakeDroptune, str], fake: FakeDroptune, tmp_path: Path
) -> None:
    damaged = tmp_path / "-damaged.jsonl"
    damaged.write_text('{"messages": []}\n')

    async def talk(client: Client) -> list[Any]:
        good = {"file": str(RECIPE / "train.jsonl"), "recipe": str(RECIPE / "recipe.yaml")}
        calls = (good, {"file": str(damaged)}, {"file": str(tmp_path / "none")}, {"recipe": "recipe.yaml"})
        return [await names(client), *[await client.call_tool("validate_file", one) for one in calls]]

    reading, passed, rejected, missing, incomplete = as_agent(served[1], talk)
    assert json.loads(passed.content[0].text)["passed"] is True
    assert json.loads(rejected.content[0].text)["passed"] is False
    assert (passed.is_error, rejected.is_error) == (False, False)  # the report is the answer
    assert (missing.is_error, incomplete.is_error) == (True, True)
    assert "does not exist" in missing.content[0].text

    async def drop(client: Client) -> list[Any]:
        file = {"file": str(RECIPE / "recipe.yaml"), "project": "shop"}
        return [await names(client), await client.call_tool("drop_file", file)]

    acting, dropped = as_agent(served[1], drop, "--acts")
    assert "drop_file" in acting - reading
    assert "recipe.yaml is in the drop zone of shop" in dropped.content[0].text
    assert fake.dropped == {"shop/recipe.yaml": (RECIPE / "recipe.yaml").read_bytes()}
