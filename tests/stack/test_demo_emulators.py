"""`make demo-emulators`: the whole way through the real Azure SDKs, with a stack that keeps nothing in SQLite or files.

One demo serves all tests of this file, in order: the last one stops its stack and starts it again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_stack import emulators
from local_stack.processes import marked
from shared.clients.blob import AzureBlobStore
from shared.clients.cosmos import CosmosRunStore
from shared.clients.service_bus.client import ServiceBusEventBus
from shared.pipeline import TOPOLOGY
from shared.ports import DEAD_LETTERS
from shared.records import runs
from tests.paths import ROOT
from tests.stack.local import ask, rows, until

pytestmark = [pytest.mark.slow, pytest.mark.stack, pytest.mark.timeout(1200)]


@dataclass(frozen=True, slots=True)
class Demo:
    root: Path
    ended: subprocess.CompletedProcess[str]

    def read(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self.root / name).read_text()))

    def stores(self) -> dict[str, str]:
        return dict(self.read("stack.json")["stores"])

    def get(self, path: str) -> Any:
        url = self.read("stack.json")["api_url"]
        return httpx.get(f"{url}{path}", trust_env=False, timeout=60).raise_for_status().json()


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    try:
        emulators.install()
    except emulators.NotInstalled as error:
        pytest.skip(str(error))
    root = tmp_path_factory.mktemp("emulators") / "demo"
    yield Demo(root, run("local_stack.demo", "--emulators", "--root", str(root), "--port", "0"))
    run("local_stack.stack", "down", "--root", str(root))
    assert marked(root) == []
    shutil.rmtree(root)


def test_the_demo_ends_deployed_and_says_what_it_used(demo: Demo) -> None:
    assert demo.ended.returncode == 0, demo.ended.stdout + demo.ended.stderr
    report = demo.read("report.json")
    assert (report["status"], report["passed"]) == ("deployed", True)
    stores = demo.stores()
    assert {name: url.partition(":")[0] for name, url in stores.items()} == {
        "RUN_STORE_URL": "cosmos+http",
        "EVENT_BUS_URL": "Endpoint=sb",
        "BLOB_STORE_URL": "blob+http",
    }
    assert report["stores"] == stores
    assert [f"{name}={url}" in demo.ended.stdout for name, url in stores.items()] == [True, True, True]


def test_the_run_is_in_cosmos_db_and_its_model_in_blob_storage_and_nowhere_else(demo: Demo) -> None:
    run_id, stores = demo.read("report.json")["run"], demo.stores()
    with closing(CosmosRunStore(stores["RUN_STORE_URL"])) as store:
        found = runs.page(store, project="manufacturing").runs
    assert [(run.id, run.status) for run in found] == [(run_id, "deployed")]
    with closing(AzureBlobStore(stores["BLOB_STORE_URL"])) as blobs:
        assert blobs.info(f"runs/{run_id}/model/merged/model.safetensors")
    assert not [name for name in ("state.db", "bus.db", "blobs") if (demo.root / name).exists()]


def test_every_message_is_handled_and_none_is_a_dead_letter(demo: Demo) -> None:
    with closing(ServiceBusEventBus(demo.stores()["EVENT_BUS_URL"], TOPOLOGY)) as bus:
        entities = TOPOLOGY.entities()
        until(lambda: not any(map(bus.depth, entities)), "all is handled, the webhooks' copies too", 60)
        dead = [entity for entity in entities if bus.depth(entity + DEAD_LETTERS)]
    assert dead == demo.get("/api/dead-letters")["data"] == []


def test_the_doctor_finds_nothing_to_repair(demo: Demo) -> None:
    checks = demo.get("/api/doctor")["data"]
    assert [check for check in checks if check["status"] == "fix"] == []
    assert {"run store", "event bus", "blobs"} <= {check["name"] for check in checks if check["status"] == "ok"}


def test_the_base_model_can_be_imported_from_and_into_blob_storage(demo: Demo) -> None:
    place = "models/droptune/tiny-llama/tokenizer/"
    with closing(AzureBlobStore(demo.stores()["BLOB_STORE_URL"])) as blobs:
        placed = {info.path: b"".join(blobs.read(info.path)) for info in blobs.list(place)}
        for path in placed:
            blobs.delete(path)
        imported = run(
            "cli", "base-models", "import", "droptune/tiny-llama", "--url", demo.read("stack.json")["api_url"]
        )
        assert imported.returncode == 0, imported.stdout + imported.stderr
        found = {info.path: b"".join(blobs.read(info.path)) for info in blobs.list(place)}
    assert found == placed
    assert f"{place}bundle.json" in found


def test_the_deployed_model_answers_a_question_it_was_never_trained_on(demo: Demo) -> None:
    rollout = demo.get(f"/api/runs/{demo.read('report.json')['run']}")["rollout"]
    question, answer = json.loads(rows("eval.jsonl")[1])["messages"]
    assert ask(demo.root, rollout["scoring_uri"], question["content"]) == answer["content"]


def test_after_a_stop_the_blobs_are_there_and_the_runs_are_not(demo: Demo) -> None:
    run_id, before = demo.read("report.json")["run"], demo.stores()
    assert run("local_stack.stack", "down", "--root", str(demo.root)).returncode == 0
    back = run("local_stack.stack", "up", "--root", str(demo.root))
    assert back.returncode == 0, back.stdout + back.stderr
    assert demo.stores() == before
    # Two minutes after the drop `reconcile` finds a blob without a run, and begins one anew.
    assert [one for one in demo.get("/api/runs")["data"] if one["status"] == "deployed"] == []
    with closing(AzureBlobStore(before["BLOB_STORE_URL"])) as blobs:
        assert blobs.info(f"runs/{run_id}/model/merged/model.safetensors")
