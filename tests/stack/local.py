"""A local stack for tests: started in a folder, asked over HTTP, stopped with all its processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from local_stack import stack
from local_stack.base_model import REPOSITORY
from local_stack.processes import marked

RECIPE = REPOSITORY / "recipes" / "manufacturing"
TERMINAL = {"deployed", "rejected", "duplicate", "declined", "rolled_back", "failed", "cancelled"}


class LocalStack:
    """`environment` is added to what the parts inherit."""

    def __init__(self, root: Path, environment: dict[str, str] | None = None) -> None:
        self.root = root
        self._environment = environment or {}
        self.up()

    def up(self) -> None:
        """A port of its own at first; after a kill the same one again."""
        fresh = not (self.root / "stack.json").exists()
        self._command("up", *(("--port", "0") if fresh else ()))
        self.url = json.loads((self.root / "stack.json").read_text())["api_url"]

    def down(self) -> None:
        self._command("down")
        assert marked(self.root) == []
        shutil.rmtree(self.root)

    def _command(self, action: str, *options: str) -> None:
        command = [sys.executable, "-m", "local_stack.stack", action, "--root", str(self.root), *options]
        ended = subprocess.run(
            command, cwd=REPOSITORY, env={**os.environ, **self._environment}, text=True, capture_output=True
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr

    def kill_everything(self) -> int:
        """`kill -9` for every process of the stack, jobs and deployments included."""
        killed = 0
        while found := marked(self.root):
            for process in found:
                process.kill()
                killed += 1
            time.sleep(0.05)
        return killed

    def get(self, path: str) -> Any:
        return httpx.get(f"{self.url}{path}", timeout=30, trust_env=False).raise_for_status().json()

    def drop(self, project: str, name: str, text: bytes) -> None:
        """As a person would copy it; the name appears with the content complete."""
        zone = self.root / "blobs" / "datasets" / project
        zone.mkdir(parents=True, exist_ok=True)
        (zone / f".{name}").write_bytes(text)
        (zone / f".{name}").rename(zone / name)

    def drop_recipe(self, project: str, training: bytes | None = None) -> None:
        """The manufacturing recipe, with other training rows where given."""
        self.drop(project, "recipe.yaml", (RECIPE / "recipe.yaml").read_bytes())
        self.drop(project, "eval.jsonl", (RECIPE / "eval.jsonl").read_bytes())
        self.drop(project, "train.jsonl", training or (RECIPE / "train.jsonl").read_bytes())

    def runs(self, project: str) -> list[dict[str, Any]]:
        """Newest first."""
        return list(self.get(f"/api/runs?project={project}")["data"])

    def wait(self, project: str, statuses: set[str], runs: int = 1, within_s: float = 280) -> dict[str, Any]:
        """The newest of a project's `runs` runs, once it has one of the statuses."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            found = self.runs(project)
            if len(found) >= runs and found[0]["status"] in statuses:
                return found[0]
            if len(found) >= runs and found[0]["status"] in TERMINAL:
                break
            time.sleep(0.5)
        log = stack.tail(self.root / "logs" / "host.log", 40)
        raise AssertionError(f"{project} has {[(r['id'], r['status'], r['error']) for r in found]}\n{log}")

    def jobs(self) -> list[dict[str, Any]]:
        """Every job the emulator ever knew."""
        azure_ml = stack.Stack.load(self.root).azure_ml_url.removeprefix("azureml+").split("/subscriptions")[0]
        answer = httpx.get(f"{azure_ml}/_emulator/jobs", timeout=30, trust_env=False).raise_for_status().json()
        return list(answer["jobs"])


def ask(scoring_uri: str, question: str) -> str:
    """What a person's curl would get."""
    answer = httpx.post(
        f"{scoring_uri.rstrip('/')}/v1/chat/completions",
        json={"messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 64},
        headers={"authorization": "Bearer local"},
        timeout=60,
        trust_env=False,
    ).raise_for_status()
    return str(answer.json()["choices"][0]["message"]["content"])
