"""From the start of a worker's process until its first event is handled, beside an app with one empty function.

Microsoft's worker on the deployed Python, in an environment of the deployed lock file. Stores and bus are the Azure
SDKs' on the emulators; Azure ML is its emulator, which keeps submitted jobs waiting. Each start is a process of its
own: it indexes the app, loads one function and runs it once. The Functions host is not part of it, nor is its gRPC.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.azure_worker.environments import environment, find_python
from benchmarks.azure_worker.worker import AzureWorker
from benchmarks.measure import MB, REPOSITORY, Figure, load
from benchmarks.servers import ready, serving
from local_stack import emulators
from local_stack.azure_ml.tokens import load_secret
from shared.domain.paths import run_id_of_blob
from shared.domain.topology import STORAGE_EVENTS, TOPIC
from shared.ports import BlobStore, EventBus, Message, ReceivedMessage
from shared.services import build_blob_store, build_event_bus

PYTHON = "3.13"  # as infra/modules/app.bicep
STARTS = 3
First = Callable[[AzureWorker], object]
SAMPLE = REPOSITORY / "recipes" / "manufacturing"
WORKSPACE = "subscriptions/local/resourceGroups/local/workspaces/local"
TIMERS = ("RECONCILE_SCHEDULE", "PROBE_SCHEDULE", "MONITOR_SCHEDULE", "RETIRE_SCHEDULE", "RETRAIN_SCHEDULE")
EMPTY_APP = """
import azure.functions as func

app = func.FunctionApp()


@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *", use_monitor=False)
def nothing(timer: func.TimerRequest) -> None:
    pass
"""


class Start(NamedTuple):
    wall_s: float
    cpu_s: float
    peak_mb: float


class Platform(NamedTuple):
    """The emulators, and what a worker needs to reach them."""

    settings: dict[str, str]
    bus: EventBus
    blobs: BlobStore

    def take(self, entity: str, id: str) -> ReceivedMessage:
        """The message, completed: the worker has it from here."""
        while received := self.bus.receive(entity, max_messages=1, wait_s=60):
            self.bus.complete(received[0])
            if received[0].message.id == id:
                return received[0]
        raise RuntimeError(f"{id} did not come to {entity}")


def run(starts: int = STARTS) -> list[Figure]:
    """Raises RuntimeError without Python 3.13."""
    found = find_python(PYTHON)
    if found is None:
        raise RuntimeError(f"Python {PYTHON} is not on this machine")
    python = environment(found)
    taken: dict[str, list[Start]] = {}
    with tempfile.TemporaryDirectory() as name, platform(Path(name).resolve()) as on:
        folder = Path(name).resolve()
        empty = folder / "empty"
        empty.mkdir()
        (empty / "function_app.py").write_text(EMPTY_APP)
        for number in range(starts + 1):
            kept = {}  # the first round writes byte code and does not count
            kept["an empty app"] = cold(python, empty, {}, folder, "nothing", lambda worker: worker.tick("nothing"))
            for what, function, first in events(on, f"plant-{number}"):
                kept[what] = cold(python, REPOSITORY, on.settings, folder, function, first)
            if number:
                for what, start in kept.items():
                    taken.setdefault(what, []).append(start)
    return [row for what in list(taken)[1:] for row in rows(what, taken[what], taken["an empty app"])]


def rows(what: str, ours: list[Start], empty: list[Start]) -> Iterator[Figure]:
    for field, unit in (("wall_s", "s"), ("cpu_s", "s of processor time"), ("peak_mb", "MB, peak")):
        values, other = ([getattr(start, field) for start in starts] for starts in (ours, empty))
        spread = f"{min(values):.3g} to {max(values):.3g}; empty {min(other):.3g} to {max(other):.3g}; load {load()}"
        median, its = statistics.median(values), statistics.median(other)
        yield Figure(f"cold start, {what}", median, unit, "lower", "an empty app", its, spread)


def cold(python: Path, app: Path, settings: dict[str, str], folder: Path, function: str, first: First) -> Start:
    """A worker from its start until `first`, an invocation of `function`, has returned."""
    started = time.monotonic()
    worker = AzureWorker(python, app, settings, folder)
    try:
        worker.ask("init")
        worker.ask("metadata")
        worker.ask("load", function=function)
        first(worker)
        wall_s = time.monotonic() - started
        times = psutil.Process(worker.pid).cpu_times()
        status = Path(f"/proc/{worker.pid}/status").read_text()
        peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        return Start(wall_s, times.user + times.system, peak_kb * 1024 / MB)
    finally:
        worker.close()


def events(on: Platform, project: str) -> Iterator[tuple[str, str, First]]:
    """What happens, the function it wakes, and the invocation: the first stages of one run, a tick and a request."""
    for name in ("recipe.yaml", "eval.jsonl", "train.jsonl"):
        on.blobs.write(f"datasets/{project}/{name}", [(SAMPLE / name).read_bytes()])
    info = on.blobs.info(f"datasets/{project}/train.jsonl")
    assert info is not None
    run_id = run_id_of_blob(info.path, info.etag)
    on.bus.send(STORAGE_EVENTS, [blob_created(info.path, info.etag)])
    dropped = on.take(STORAGE_EVENTS, f"event-of-{run_id}")
    yield "Service Bus: a dropped dataset", "receive_dataset", lambda worker: worker.bring("receive_dataset", dropped)
    uploaded = on.take(f"{TOPIC}/validate_dataset", f"{run_id}.dataset.uploaded.1")
    yield "Service Bus: its validation", "validate_dataset", lambda worker: worker.bring("validate_dataset", uploaded)
    passed = on.take(f"{TOPIC}/submit_training", f"{run_id}.validation.passed.2")
    yield "Service Bus: its training job", "submit_training", lambda worker: worker.bring("submit_training", passed)
    yield "timer: reconcile", "reconcile", lambda worker: worker.tick("reconcile")

    def get(worker: AzureWorker) -> None:
        answer = worker.get(f"/api/runs/{run_id}")
        assert (answer["status"], json.loads(answer["body"])["status"]) == (200, "training"), answer

    yield "HTTP: GET a run", "http", get


def blob_created(path: str, etag: str) -> Message:
    container, _, blob = path.partition("/")
    id, kind = f"event-of-{run_id_of_blob(path, etag)}", "Microsoft.Storage.BlobCreated"
    event = {
        "specversion": "1.0",
        "id": id,
        "type": kind,
        "source": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a",
        "subject": f"/blobServices/default/containers/{container}/blobs/{blob}",
        "data": {"eTag": etag},
    }
    return Message(id, kind, json.dumps(event).encode())


@contextmanager
def platform(folder: Path) -> Iterator[Platform]:
    with ExitStack() as servers:
        ports = {name: servers.enter_context(serving(name)) for name in ("cosmos", "azurite")}
        ports["servicebus"] = servers.enter_context(ready(emulators.part_command("servicebus", 0, folder)))
        urls = emulators.settings(ports)
        emulators.create_run_container(urls["RUN_STORE_URL"])
        emulators.create_blob_containers(urls["BLOB_STORE_URL"], emulators.CONTAINERS)
        azure_ml = folder / "azure_ml"
        azure_ml.mkdir()
        command = [sys.executable, "-m", "local_stack.azure_ml", "--root", str(azure_ml), "--slots", "0"]
        command += ["--blob-root", str(folder), "--blob-store", urls["BLOB_STORE_URL"]]
        port = servers.enter_context(ready(command))
        settings = {
            **urls,
            "AZURE_ML_URL": f"azureml+http://127.0.0.1:{port}/{WORKSPACE}",
            "AZURE_ML_SECRET": load_secret(azure_ml),
            **dict.fromkeys(TIMERS, "0 0 0 1 1 *"),
        }
        bus, blobs = build_event_bus(urls["EVENT_BUS_URL"]), build_blob_store(urls["BLOB_STORE_URL"])
        servers.callback(bus.close)
        yield Platform(settings, bus, blobs)
