"""States that earlier versions of the program left, under this one: read, listed, continued and finished.

`tests/golden/state/<commit>` was written by the code of that commit, driven by its own simulation (since `schema-1` by
`save_state.py`): one run in each status that it could stop in, their events, claims and files, and a message.
"""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from datetime import datetime
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient

from functions.http import create_api
from functions.http.auth import LoopbackAuth
from shared.domain.errors import PermanentFailure
from shared.domain.events import EVENT_TYPES, parse_event
from shared.domain.jobs import JobSpec
from shared.domain.recipe import Tier
from shared.domain.run import NON_TERMINAL, Run, Status
from shared.records.budget import BUDGET, reserve
from shared.records.outbox import OUTBOX
from shared.steps.deploy_model import deployment_spec, model_spec
from tests.paths import ROOT
from tests.simulation.conftest import MakeWorld
from tests.simulation.driver import Driver
from tests.simulation.platform import Deployment, Endpoint, Job
from tests.simulation.world import World

GOLDEN = ROOT / "tests" / "golden" / "state"
VERSIONS = sorted(folder.name for folder in GOLDEN.iterdir() if folder.is_dir())


@pytest.fixture(params=VERSIONS)
def world(request: pytest.FixtureRequest, make_world: MakeWorld) -> World:
    world = make_world(3, channel=False)
    world.close()
    golden = GOLDEN / request.param
    for name in ("state", "bus"):
        for file in world.folder.glob(f"{name}.db*"):
            file.unlink()
        with closing(sqlite3.connect(world.folder / f"{name}.db")) as connection, connection:
            connection.executescript((golden / f"{name}.sql").read_text())
    kept = orjson.loads((golden / "blobs.json").read_bytes())
    for path, blob in kept["blobs"].items():
        file = world.folder / "blobs" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(blob["text"])
        os.utime(file, ns=(blob["modified_ns"],) * 2)
    world.restart()
    world.clock.advance((datetime.fromisoformat(kept["now"]) - world.clock.now()).total_seconds())
    return world


@pytest.fixture
def client(world: World) -> TestClient:
    return TestClient(create_api(world.services, LoopbackAuth), base_url="http://127.0.0.1", client=("127.0.0.1", 1))


def platform_as_left(world: World) -> None:
    """The jobs, models and deployments that the runs speak of; on Azure they outlive any version of the app."""
    for run in world.runs():
        if run.status in (Status.TRAINING, Status.EVALUATING):
            _put_job(world, run)
        if run.rollout is not None:
            _put_deployment(world, run)
        if run.verdict is not None and run.curated is not None and not run.terminal:
            world.platform._rows(run, run.curated)  # so that the deployment knows the answers of the evaluation


def _put_job(world: World, run: Run) -> None:
    assert run.job is not None
    spec = JobSpec(
        name=run.job.name,
        command="",
        environment="training:1",
        inputs={},
        outputs={},
        instance_type="Local_CPU",
        tier=Tier.SPOT,
        timeout_s=3600,
        tags={"droptune_run": run.id},
    )
    world.platform.jobs[spec.name] = Job(spec, world.clock.now(), world.clock.now(), "completes")


def _put_deployment(world: World, run: Run) -> None:
    assert run.rollout is not None
    model, spec = model_spec(run), deployment_spec(run, world.config)
    world.platform.models[f"{model.name}:{model.version}"] = model
    endpoint = world.platform.endpoints.setdefault(spec.endpoint, Endpoint(world.clock.now()))
    endpoint.deployments[spec.name] = Deployment(spec, world.clock.now(), "serves")
    if run.status is Status.DEPLOYED:
        endpoint.traffic = dict(run.rollout.traffic)


def entries(world: World) -> list[dict[str, Any]]:
    return [entry for entry in world.documents(OUTBOX) if entry["subject"] in EVENT_TYPES]


def test_every_run_is_read_in_the_status_it_was_left_in(world: World) -> None:
    found = world.runs()
    assert {run.id: run.status.value for run in found} == {
        document["run_id"]: document["status"] for document in world.documents("run")
    }
    assert {run.status for run in found} >= {
        Status.RECEIVED,
        Status.TRAINING,
        Status.EVALUATING,
        Status.AWAITING_APPROVAL,
        Status.DEPLOYING,
        Status.DEPLOYED,
        Status.DECLINED,
        Status.REJECTED,
        Status.DUPLICATE,
        Status.FAILED,
        Status.CANCELLED,
    }
    for run in found:
        if run.recipe is not None:
            assert run.recipe.requested.evaluation.gate.min_rows == 2
            assert run.recipe.requested.data.validation_split == 0.1
            assert run.recipe.hyperparameters.quantization == "nf4"
        if run.training is not None:
            assert run.training.processed_tokens == 1000


def test_what_a_project_has_reserved_in_the_month_still_counts(world: World) -> None:
    accounts = world.documents(BUDGET)
    assert len(accounts) == len({run.project for run in world.runs() if run.cost is not None}) >= 5
    spent = [usd for account in accounts for usd in account["usd"].values()]
    (run,) = [run for run in world.runs() if run.status is Status.TRAINING]
    with pytest.raises(PermanentFailure, match="monthly_budget"):
        reserve(world.store, run.evolve(id="run-another"), {run.project: max(spent) / 2}, 80)


def test_every_event_is_read_and_means_what_it_meant(world: World) -> None:
    seen = [parse_event(entry["body"]) for entry in entries(world)]
    assert len(seen) == len(entries(world)) > 40
    assert {event.id for event in seen} >= {
        entry["message_id"] for entry in entries(world) if "~" not in entry["message_id"]
    }


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("path", ["", "/events", "/report", "/metrics"])
def test_the_api_answers_every_run_and_lists_them_all(world: World, client: TestClient, path: str) -> None:
    listed = client.get("/api/runs?limit=100").json()
    assert (len(listed["data"]), listed["unreadable"]) == (len(world.documents("run")), [])
    for run in listed["data"]:
        answer = client.get(f"/api/runs/{run['id']}{path}")
        # Of the files the corpus has those of runs that go on.
        no_report = path == "/report" and (run["project"] in ("done", "called-off") or run["status"] == "received")
        assert answer.status_code == (404 if no_report else 200), answer.text


def test_every_run_that_had_not_ended_goes_on_and_ends_well(world: World, client: TestClient) -> None:
    under_way = [run.id for run in world.runs() if run.status in NON_TERMINAL]
    platform_as_left(world)
    (waiting,) = [run for run in world.runs() if run.status is Status.AWAITING_APPROVAL]
    for name in ("ada", "grace"):  # earlier versions did not keep who asked
        answer = client.post(f"/api/runs/{waiting.id}/approve", headers={"x-droptune-user": name})
        assert answer.status_code == 202
    driver = Driver(world, random.Random(3))
    driver.people = False
    driver.settle()
    assert {run.id: run.status for run in world.runs() if run.id in under_way} == dict.fromkeys(
        under_way, Status.DEPLOYED
    )
    assert world.book.errors == []
    assert {document["schema_version"] for document in world.documents("run") if document["run_id"] in under_way} == {1}
    assert world.dead_letters() == {}
