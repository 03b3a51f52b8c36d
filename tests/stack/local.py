"""A local stack for tests: started in a folder, asked over HTTP, stopped with all its processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml

from local_stack import stack
from local_stack.azure_ml.tokens import load_secret
from local_stack.processes import marked, stop
from shared.domain.topology import TOPIC
from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import SystemClock
from shared.embedded.store import SqliteRunStore
from shared.pipeline import TOPOLOGY
from shared.ports import Message
from shared.records.claims import CLAIM
from tests.paths import ROOT

Found = TypeVar("Found")
Event = dict[str, Any]
FINAL_JOB = {"Completed", "Failed", "Canceled"}
WORKSPACE = "/subscriptions/local/resourceGroups/local/providers/Microsoft.MachineLearningServices/workspaces/local"
RECIPE = ROOT / "recipes" / "manufacturing"
TERMINAL = {"deployed", "rejected", "duplicate", "declined", "rolled_back", "failed", "cancelled"}


class LocalStack:
    """`environment` is added to what the parts inherit."""

    def __init__(self, root: Path, environment: dict[str, str] | None = None) -> None:
        self.root = root
        self._environment = environment or {}
        self._started: list[subprocess.Popen[bytes]] = []
        self._http = httpx.Client(timeout=30, trust_env=False)  # a client of its own per call costs 20 ms of CPU
        self.up()

    def up(self) -> None:
        """A port of its own at first; after a kill the same one again."""
        fresh = not (self.root / "stack.json").exists()
        self._command("up", *(("--port", "0") if fresh else ()))
        self.url = json.loads((self.root / "stack.json").read_text())["api_url"]

    def down(self) -> None:
        self._http.close()
        self._command("down")
        for process in self._started:
            process.wait()
        assert marked(self.root) == []
        shutil.rmtree(self.root)

    def _command(self, action: str, *options: str) -> None:
        command = [sys.executable, "-m", "local_stack.stack", action, "--root", str(self.root), *options]
        ended = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **self._environment}, text=True, capture_output=True
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr

    def disable(self, *functions: str) -> None:
        """Start the host again without these functions, as their app settings in Azure would: their messages wait."""
        others = {name: value for name, value in self._environment.items() if not name.endswith(".Disabled")}
        self._environment = {**others, **{f"AzureWebJobs.{name}.Disabled": "true" for name in functions}}
        self.stop_part("host")
        self.up()

    def stop_part(self, name: str) -> None:
        process = stack.Stack.load(self.root).parts[name].process()
        stop([process] if process else [])

    def start_part(
        self, name: str, *options: str, module: Sequence[str] = (), code: Path = ROOT, log: str | None = None
    ) -> subprocess.Popen[bytes]:
        """A part of the stack as the test wants it: a later option wins; `module` with its own arguments instead.

        `code` is the source tree it runs from, `log` the name of a log of its own.
        """
        found = stack.Stack.load(self.root)
        python, minus_m, *command = found.command(name)
        command = [*module, *command[1:]] if module else command
        with found.log(log or name).open("ab") as output:
            process = subprocess.Popen(
                [python, minus_m, *command, *options],
                cwd=code,
                env={**found.environment(name), **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        return process

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
        answer = self._http.get(f"{self.url}{path}")
        assert answer.status_code == 200, f"{answer.text}\n{stack.tail(self.root / 'logs' / 'host.log', 60)}"
        return answer.json()

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

    def runs(self, project: str, file: str | None = None) -> list[dict[str, Any]]:
        """Newest first; of one file of a project that has several, if it is named."""
        found = self.get(f"/api/runs?project={project}")["data"]
        return [run for run in found if file in (None, run["dataset"]["path"].rpartition("/")[2])]

    def wait(
        self, project: str, statuses: set[str], runs: int = 1, within_s: float = 600, file: str | None = None
    ) -> dict[str, Any]:
        """The newest of a project's `runs` runs, or of a file's, once it has one of the statuses."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            found = self.runs(project, file)
            if len(found) >= runs and found[0]["status"] in statuses:
                return found[0]
            if len(found) >= runs and found[0]["status"] in TERMINAL:
                break
            time.sleep(0.5)
        log = stack.tail(self.root / "logs" / "host.log", 40)
        raise AssertionError(f"{project} has {[(r['id'], r['status'], r['error']) for r in found]}\n{log}")

    def jobs(self) -> list[dict[str, Any]]:
        """Every job the emulator ever knew."""
        return list(self._emulator("GET", "/_emulator/jobs").json()["jobs"])

    def drop_project(
        self, project: str, train: Sequence[bytes], held_out: Sequence[bytes], file: str = "train.jsonl", **changes: Any
    ) -> None:
        """Rows under the manufacturing recipe with parts of it changed: `deployment={"approval": "required"}`."""
        recipe = merged(yaml.safe_load((RECIPE / "recipe.yaml").read_text()), changes)
        self.drop(project, "recipe.yaml", yaml.safe_dump(recipe).encode())
        self.drop(project, "eval.jsonl", b"".join(held_out))
        self.drop(project, file, b"".join(train))

    def delete_endpoint(self, name: str) -> None:
        assert self._http.delete(f"{self.url}/api/endpoints/{name}").status_code == 202

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self._http.post(f"{self.url}{path}", json=body or None)
        assert answer.status_code in (201, 202), answer.text
        return dict(answer.json())

    def replay(self, entity: str) -> None:
        """Its dead letters."""
        self._http.post(f"{self.url}/api/dead-letters/replay", json={"entity": entity}).raise_for_status()

    def approve(self, run_id: str, comment: str = "") -> None:
        """As two persons: nobody known asked for a run whose file was put there directly."""
        for number, name in enumerate(("ada", "grace")):
            until(partial(self._has_approvals, run_id, number), "the first approval counts")
            url, headers = f"{self.url}/api/runs/{run_id}/approve", {"x-droptune-user": name}
            answer = self._http.post(url, json={"comment": comment}, headers=headers)
            assert answer.status_code in (201, 202), answer.text

    def _has_approvals(self, run_id: str, number: int) -> bool:
        return len(self.run(run_id)["approvals"]) >= number

    def run(self, run_id: str) -> dict[str, Any]:
        return dict(self.get(f"/api/runs/{run_id}"))

    def events(self, run_id: str) -> list[Event]:
        """The facts about a run, oldest first."""
        return list(self.get(f"/api/runs/{run_id}/events")["data"])

    def bus(self) -> closing[SqliteEventBus]:
        return closing(SqliteEventBus(self.root / "bus.db", TOPOLOGY, SystemClock()))

    def publish(self, events: Sequence[Event]) -> None:
        """Send CloudEvents to the topic, as a redelivery or a mistaken publisher would."""
        with self.bus() as bus:
            bus.send(TOPIC, [Message(e["id"], e["type"], json.dumps(e).encode()) for e in events])

    def waiting(self, subscription: str) -> list[str]:
        """Ids of the messages at a subscription, locked and scheduled ones too."""
        with self.bus() as bus:
            return [received.message.id for received in bus.peek(f"{TOPIC}/{subscription}", limit=100)]

    def claims(self, **equals: str | int) -> list[str]:
        """What is claimed: `owner=`, `kind=`, `settled=`."""
        with closing(SqliteRunStore(self.root / "state.db", SystemClock())) as store:
            found, _ = store.query(CLAIM, {}, limit=1000)
        documents = [stored.document for stored in found]
        return [one["name"] for one in documents if all(one.get(name) == value for name, value in equals.items())]

    def claims_of(self, run_id: str) -> list[str]:
        """Kinds of what a run has claimed, but for its attempt at the held-out rows, which stays."""
        kinds = [name.split(":")[0] for name in self.claims(owner=run_id)]
        return [kind for kind in kinds if kind != "attempt"]

    def azure(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """What the emulator of Azure ML answers, an error too."""
        url = stack.Stack.load(self.root).azure_ml_url.removeprefix("azureml+").split("/subscriptions")[0]
        version = {"api-version": "2023-04-01-preview"} if path.startswith("/subscriptions/") else {}
        return self._http.request(method, f"{url}{path}", params=version, json=body, headers=bearer(self.root))

    def _emulator(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return self.azure(method, path, body).raise_for_status()

    def inject_fault(self, kind: str, **fault: Any) -> None:
        """See `local_stack.azure_ml.store`; it strikes whoever comes next."""
        self._emulator("POST", "/_emulator/faults", {"kind": kind, **fault})

    def cancel_job(self, name: str) -> None:
        """As somebody would in the studio."""
        self._emulator("POST", f"{WORKSPACE}/jobs/{name}/cancel")

    def job_status(self, name: str) -> str | None:
        return next((str(job["status"]) for job in self.jobs() if job["name"] == name), None)

    def live_jobs(self, run_id: str) -> list[str]:
        return [j["name"] for j in self.jobs() if j["name"].startswith(run_id) and j["status"] not in FINAL_JOB]

    def deployments(self, endpoint: str) -> list[str]:
        """Of an endpoint that exists."""
        answer = self._emulator("GET", f"{WORKSPACE}/onlineEndpoints/{endpoint}/deployments").json()
        return [item["name"] for item in answer["value"]]

    def traffic(self, endpoint: str) -> dict[str, int]:
        properties = self._emulator("GET", f"{WORKSPACE}/onlineEndpoints/{endpoint}").json()["properties"]
        return {name: share for name, share in properties["traffic"].items() if share}


def until(check: Callable[[], Found | None], what: str, within_s: float = 120, every_s: float = 0.2) -> Found:
    """What `check` finds, once it finds something."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if found := check():
            return found
        time.sleep(every_s)
    raise AssertionError(f"not within {within_s:g} s: {what}")


def rows(name: str) -> list[bytes]:
    """The lines of a file of the recipe, with their ends."""
    return (RECIPE / name).read_bytes().splitlines(keepends=True)


def statuses(run: dict[str, Any]) -> list[str]:
    return [line["status"] for line in run["history"]]


def notes(run: dict[str, Any]) -> list[str]:
    """What the history says beside the status, where it says something."""
    return [line["note"] for line in run["history"] if line["note"]]


def merged(recipe: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    found = dict(recipe)
    for key, value in changes.items():
        found[key] = merged(found.get(key, {}), value) if isinstance(value, dict) else value
    return found


def bearer(root: Path) -> dict[str, str]:
    """Headers of a caller that may read the stack's folder."""
    return {"authorization": f"Bearer {load_secret(root / 'azure_ml')}"}


def ask(root: Path, scoring_uri: str, question: str) -> str:
    """What a person's curl would get."""
    answer = httpx.post(
        f"{scoring_uri.rstrip('/')}/v1/chat/completions",
        json={"messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 64},
        headers=bearer(root),
        timeout=60,
        trust_env=False,
    ).raise_for_status()
    return str(answer.json()["choices"][0]["message"]["content"])
