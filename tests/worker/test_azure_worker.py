"""The app in the hands of Microsoft's own Python worker (azure-functions-runtime, Python 3.13), as in Azure.

The worker's library is the one of PyPI; the host around it is the driver, which cites what it does. Run store, bus
and blobs are the embedded ones, in files that the worker and these tests share: the tests receive and settle as the
Functions host does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from benchmarks.azure_worker.environments import find_python
from benchmarks.azure_worker.worker import AzureWorker, WorkerFailure
from functions.dispatch import FAILED, FAILED_AT, FAILED_WAITS_S
from shared.domain import events as e
from shared.domain.commands import InspectJob
from shared.domain.dataset import DatasetRef
from shared.domain.errors import FailureClass, Problem
from shared.domain.jobs import JobKind
from shared.domain.paths import run_id_of_blob
from shared.domain.run import JobRef, Run, Status
from shared.domain.topology import JOB_EVENTS, STORAGE_EVENTS, TOPIC
from shared.embedded.blobs import FileBlobStore
from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import SystemClock
from shared.embedded.store import SqliteRunStore
from shared.pipeline import STAGES, TOPOLOGY, Stage
from shared.ports import Message, ReceivedMessage
from shared.records import runs
from shared.step_support.outcome import message_of
from tests.azure_events import blob_created
from tests.paths import ROOT
from tests.worker.installed import PACKAGES, unpacked

PYTHON = "3.13"
SAMPLE = ROOT / "recipes" / "manufacturing"
SCHEDULES = {stage.timer: "0 0 0 1 1 *" for stage in STAGES if stage.timer}
WAKES = {stage.name: stage for stage in STAGES if stage.wakes}


class Stand(NamedTuple):
    """A worker that holds the app, and the services it shares with the tests."""

    app: Path
    worker: AzureWorker
    metadata: dict[str, Any]
    bus: SqliteEventBus
    store: SqliteRunStore
    blobs: FileBlobStore

    def sent(self, entity: str, destination: str, message: Message) -> ReceivedMessage:
        """What the host receives from `entity` after `message` was sent."""
        self.bus.send(destination, [message])
        return self.take(entity, message.id)

    def take(self, entity: str, id: str) -> ReceivedMessage:
        """One message by its id; what other tests left there is settled on the way."""
        while received := self.bus.receive(entity, max_messages=1, wait_s=60):
            if received[0].message.id == id:
                return received[0]
            self.bus.complete(received[0])
        raise AssertionError(f"{id} did not come to {entity}")

    def run(self, run_id: str) -> dict[str, Any] | None:
        run = runs.load(self.store, run_id)
        return run.model_dump(mode="json") if run else None


@pytest.fixture(scope="module")
def worker_python() -> Path:
    python = find_python(PYTHON)
    if python is None:
        pytest.skip(f"Python {PYTHON}, which Microsoft's worker needs, is not on this machine")
    return python


@pytest.fixture(scope="module")
def stand(worker_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("worker")
    settings = {
        "RUN_STORE_URL": f"sqlite:///{folder}/state.db",
        "EVENT_BUS_URL": f"sqlite:///{folder}/bus.db",
        "BLOB_STORE_URL": f"file:{folder}/blobs",
        # Nobody listens there: no test here may reach Azure ML.
        "AZURE_ML_URL": "azureml+http://127.0.0.1:1/subscriptions/local/resourceGroups/local/workspaces/local",
        **SCHEDULES,
    }
    app = unpacked(worker_python, folder)
    # As Microsoft's worker does (its proxy_worker/utils/dependency.py): an interpreter without packages, and the app's.
    worker = AzureWorker(worker_python, app, {**settings, "PYTHONPATH": str(app / PACKAGES)}, folder)
    bus = SqliteEventBus(folder / "bus.db", TOPOLOGY, SystemClock())
    store = SqliteRunStore(folder / "state.db", SystemClock())
    try:
        assert worker.ask("init")["runtime_version"] == PYTHON
        yield Stand(app, worker, worker.ask("metadata"), bus, store, FileBlobStore(folder / "blobs"))
    finally:
        worker.close()
        bus.close()
        store.close()


def binding_of(stage: Stage) -> dict[str, Any]:
    """The one binding Azure must see for a row of STAGES."""
    if stage.timer:
        schedule = {"schedule": f"%{stage.timer}%", "useMonitor": False}
        return {"direction": "IN", "type": "timerTrigger", "name": "timer", **schedule}
    where = {"queueName": stage.queue} if stage.queue else {"topicName": TOPIC, "subscriptionName": stage.name}
    bus = {"direction": "IN", "type": "serviceBusTrigger", "name": "message", "connection": "ServiceBusConnection"}
    return {**bus, **where}


def test_the_worker_lists_every_stage_with_its_one_trigger_and_nothing_else(stand: Stand) -> None:
    found = {name: function["bindings"] for name, function in stand.metadata.items()}
    http = found.pop("http")
    assert found == {stage.name: [binding_of(stage)] for stage in STAGES}
    assert [(binding["type"], binding["name"]) for binding in http] == [("httpTrigger", "req"), ("http", "$return")]
    assert http[0]["route"] == "/{*route}"
    assert http[0]["authLevel"] == "ANONYMOUS"
    # A retry policy would hold a message past its lock; retries are the pipeline's own.
    assert not any(function["retry"] for function in stand.metadata.values())


def test_the_worker_reads_the_same_bindings_as_the_local_host(stand: Stand) -> None:
    # In a process of its own: an app can be read only once.
    read = (
        "import json; from function_app import app;"
        "print(json.dumps({f.get_function_name(): [json.loads(b) for b in f.get_raw_bindings()]"
        " for f in app.get_functions()}))"
    )
    local = subprocess.run([sys.executable, "-c", read], cwd=ROOT, capture_output=True, text=True, check=True)
    here = json.loads(local.stdout)
    there = json.loads(json.dumps({name: one["bindings"] for name, one in stand.metadata.items()}))
    # The newer library routes one method more (QUERY), which the API answers with 405.
    assert set(here["http"][0].pop("methods")) < set(there["http"][0].pop("methods"))
    assert here == there


def test_the_package_has_byte_code_that_the_worker_takes_as_it_is(stand: Stand) -> None:
    [code] = (stand.app / PACKAGES / "fastapi" / "__pycache__").glob("applications.*.pyc")
    assert code.name == "applications.cpython-313.pyc"
    # PEP 552: checked against no source, neither by time nor by hash.
    assert code.read_bytes()[4:8] == (1).to_bytes(4, "little")


def test_azure_runs_the_python_that_was_tested() -> None:
    app = (ROOT / "infra" / "modules" / "app.bicep").read_text()
    assert f"name: 'python'\n        version: '{PYTHON}'" in app


def test_the_worker_takes_the_app_for_a_functions_app() -> None:
    """Newer dispatchers (`reload_library_worker`) choose another runtime by these words in the script."""
    script = (ROOT / "function_app.py").read_text()
    assert "FastAPI()" not in script
    assert "from fastapi import" not in script


def test_the_worker_loads_every_function(stand: Stand) -> None:
    assert stand.metadata
    for name in stand.metadata:
        stand.worker.ask("load", function=name)  # raises what the worker answers


def test_http_goes_through_the_worker_to_the_api(stand: Stand) -> None:
    answer = stand.worker.get("/api/health")
    assert answer["status"] == 200
    assert json.loads(answer["body"])["status"] == "ok"
    assert stand.worker.get("/api/runs/run-000000000000")["status"] == 404


@pytest.mark.parametrize("name", [stage.name for stage in STAGES if stage.timer])
def test_a_timer_ticks_in_the_worker(stand: Stand, name: str) -> None:
    stand.worker.tick(name)
    if name == "reconcile":
        assert stand.store.get("reconcile-tick", "reconcile-tick") is not None


@pytest.mark.parametrize("body_as", ["string", "bytes"])
@pytest.mark.parametrize("stage", [stage for stage in STAGES if not stage.timer], ids=lambda stage: stage.name)
def test_a_malformed_message_is_kept_in_quarantine_and_completed(stand: Stand, stage: Stage, body_as: str) -> None:
    entity = stage.queue or f"{TOPIC}/{stage.name}"
    subject = sorted(cls.wire_type for cls in stage.wakes)[0] if stage.wakes else "anything"
    message = Message(f"broken-{stage.name}-{body_as}", subject, b"{not json")
    received = stand.sent(entity, stage.queue or TOPIC, message)
    stand.worker.bring(stage.name, received, body_as=body_as)
    stand.bus.complete(received)
    kept, reason = (one.path for one in stand.blobs.list(f"quarantine/{message.id}-"))
    assert b"".join(stand.blobs.read(kept)) == b"{not json"
    assert json.loads(b"".join(stand.blobs.read(reason)))["message_id"] == message.id


PROBLEM = Problem(code="spot_taken", message="the machine was taken back")
JOB = "run-00000000beef-training-1"
DATA: dict[type[e.EventData], dict[str, Any]] = {
    e.DatasetUploaded: {"path": "datasets/plant/train.jsonl", "sha256": "0" * 64, "size_bytes": 1},
    e.ValidationCompleted: {"job": JOB},
    e.ValidationPassed: {"version": "0" * 64, "train_rows": 1, "eval_rows": 1},
    e.TrainingCompleted: {"job": JOB, "train_loss": 1.0, "eval_loss": 1.0, "processed_tokens": 1, "seconds": 1.0},
    e.EvaluationCompleted: {"job": JOB},
    e.ApprovalGranted: {"by": "ada"},
    e.PromotionRequested: {"by": "ada"},
    e.DeploymentRetryDue: {"failure_class": FailureClass.CAPACITY, "problem": PROBLEM},
    e.DeploymentProbed: {"endpoint": "plant", "deployment": "d-1", "state": "creating", "traffic": {}},
    e.RunOverdue: {"status": "training", "deadline_at": datetime(2026, 1, 2, tzinfo=UTC)},
    e.JobStopped: {"job": JOB},
    e.RollbackRequested: {"endpoint": "plant", "deployment": "d-1", "by": "ada"},
    e.RunCancelled: {"by": "ada"},
}
EVENT_FOR = {stage.name: next(cls for cls in DATA if cls in stage.wakes) for stage in WAKES.values()}


@pytest.mark.parametrize("name", WAKES)
def test_an_event_of_a_run_nobody_knows_is_put_off_and_completed(stand: Stand, name: str) -> None:
    cls = EVENT_FOR[name]
    event: e.Event[e.EventData] = e.Event(
        data=cls(**DATA[cls]),
        run_id="run-00000000beef",
        project="plant",
        attempt=1,
        revision=3,
        time=datetime.now(UTC),
        key=name,
    )
    body = orjson.dumps(event.to_cloudevent())
    received = stand.sent(f"{TOPIC}/{name}", TOPIC, Message(event.id, cls.wire_type, body))
    stand.worker.bring(name, received)
    stand.bus.complete(received)
    [put_off] = [one.message for one in stand.bus.peek(f"{TOPIC}/{name}", limit=100) if event.id in one.message.id]
    assert (put_off.id, put_off.subject, put_off.body) == (f"{event.id}^1", cls.wire_type, body)
    assert stand.run(event.run_id) is None


def test_a_dropped_dataset_is_received_and_validated_by_the_worker(stand: Stand) -> None:
    for name in ("recipe.yaml", "eval.jsonl", "train.jsonl"):
        stand.blobs.write(f"datasets/plant/{name}", [(SAMPLE / name).read_bytes()])
    info = stand.blobs.info("datasets/plant/train.jsonl")
    assert info is not None
    dropped = stand.sent(STORAGE_EVENTS, STORAGE_EVENTS, blob_created(info.path, info.etag))
    stand.worker.bring("receive_dataset", dropped)
    stand.bus.complete(dropped)

    run_id = run_id_of_blob(info.path, info.etag)
    uploaded = stand.take(f"{TOPIC}/validate_dataset", f"{run_id}.dataset.uploaded.1")
    run = stand.run(run_id)
    assert run is not None
    assert (run["status"], run["revision"]) == (Status.RECEIVED, 1)

    stand.worker.bring("validate_dataset", uploaded)
    stand.bus.complete(uploaded)
    run = stand.run(run_id)
    assert run is not None
    assert (run["status"], run["revision"], run["validation"]["errors"]) == (Status.VALIDATED, 2, 0)
    passed = stand.take(f"{TOPIC}/submit_training", f"{run_id}.validation.passed.2")
    assert orjson.loads(passed.message.body)["data"]["train_rows"] == run["curated"]["train_rows"]
    assert json.loads(stand.worker.get(f"/api/runs/{run_id}")["body"])["status"] == "validated"

    # The same message again, as after a lost lock: nothing happens twice.
    stand.worker.bring("validate_dataset", uploaded)
    again = stand.run(run_id)
    assert again is not None
    assert again["revision"] == 2


NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_what_a_function_raises_is_a_failure_of_the_invocation(stand: Stand) -> None:
    """The host abandons what fails after the waits between deliveries, and the message comes again."""
    job = "run-00000000feed-training-1"
    running = Run(
        id="run-00000000feed",
        project="plant",
        status=Status.TRAINING,
        revision=3,
        attempt=1,
        created_at=NOW,
        updated_at=NOW,
        deadline_at=NOW + timedelta(days=1),
        dataset=DatasetRef(path="datasets/plant/train.jsonl", etag="e", size_bytes=1, sha256="0" * 64),
        fingerprint="f",
        jobs=(JobRef(name=job, kind=JobKind.TRAINING, attempt=1, submitted_at=NOW),),
    )
    stand.store.batch(running.id, [runs.creation(running)])
    last = {FAILED: str(len(FAILED_WAITS_S)), FAILED_AT: "inspect_job"}
    message = replace(message_of(InspectJob(job=job, poll="1")), properties=last)
    received = stand.sent(JOB_EVENTS, JOB_EVENTS, message)
    with pytest.raises(WorkerFailure, match="Transient"):  # Azure ML does not answer
        stand.worker.bring("inspect_job", received)
    stand.bus.complete(received)
