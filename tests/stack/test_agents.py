"""An agent with the official MCP client takes data to a model in production; a person approves."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from tests.paths import ROOT
from tests.stack.local import RECIPE, LocalStack

pytestmark = [pytest.mark.slow, pytest.mark.stack, pytest.mark.timeout(900)]


def server(local: LocalStack, user: str) -> StdioServerParameters:
    environment = {**os.environ, "DROPTUNE_USER": user}
    line = ["-m", "cli", "mcp", "--acts", "--url", local.url]
    return StdioServerParameters(command=sys.executable, args=line, cwd=str(ROOT), env=environment)


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    found: dict[str, Any] = json.loads(result.content[0].text)  # type: ignore[union-attr]
    return found


async def until_status(client: Client, run_id: str, *statuses: str) -> dict[str, Any]:
    while True:
        run = await call(client, "get_run", run_id=run_id, wait_s=5)
        if run["status"] in statuses:
            return run
        assert run["status"] not in ("failed", "rejected", "declined", "cancelled", "rolled_back"), run


def test_an_agent_validates_drops_watches_reads_the_verdict_and_asks_for_approval(
    local: LocalStack, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    chosen = yaml.safe_load((RECIPE / "recipe.yaml").read_text()) | {"deployment": {"approval": "required"}}
    recipe.write_text(yaml.safe_dump(chosen))

    async def as_ada() -> str:
        async with Client(server(local, "ada")) as client:
            train, held_out = str(RECIPE / "train.jsonl"), str(RECIPE / "eval.jsonl")
            report = await call(client, "validate_file", file=train, recipe=str(recipe), eval=held_out)
            assert report["passed"]
            for file in (str(recipe), held_out):
                assert not (await client.call_tool("drop_file", {"file": file, "project": "parts"})).is_error
            assert not (await client.call_tool("drop_file", {"file": train, "project": "parts"})).is_error
            (run,) = (await call(client, "list_runs", project="parts"))["data"]
            waiting = await until_status(client, run["id"], "awaiting_approval")
            verdict = (await call(client, "get_evaluation", run_id=run["id"]))["verdict"]
            assert verdict["passed"]
            events = (await call(client, "get_events", run_id=run["id"]))["data"]
            assert "droptune.approval.requested.v1" in {event["type"] for event in events}
            refused = await client.call_tool("approve_run", {"run_id": run["id"], "body": {"comment": "mine"}})
            assert refused.is_error
            assert json.loads(refused.content[0].text)["code"] == "self_approval"  # type: ignore[union-attr]
            return str(waiting["id"])

    async def as_grace(run_id: str) -> dict[str, Any]:
        async with Client(server(local, "grace")) as client:
            await call(client, "approve_run", run_id=run_id, body={"comment": "read all rows that were lost"})
            return await until_status(client, run_id, "deployed")

    done = anyio.run(as_grace, anyio.run(as_ada))
    assert [one["by"] for one in done["approvals"]] == ["grace"]
