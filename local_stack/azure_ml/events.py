"""The events Event Grid would deliver: written with the change they tell of, sent in order, at least once."""

import logging
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from local_stack.azure_ml.store import Document, WorkspaceStore
from local_stack.worker import Worker

Emit = Callable[[dict[str, Any]], None]
log = logging.getLogger(__name__)
_TYPE = "Microsoft.MachineLearningServices."


def now_iso() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def job_changed(store: WorkspaceStore, job: Document) -> None:
    """RunStatusChanged at every change, RunCompleted as well if it succeeded (Azure docs: only then)."""
    properties = job["properties"]
    experiment = str(uuid.uuid5(uuid.NAMESPACE_URL, f"experiment:{properties['experimentName']}"))
    data = {
        "experimentId": experiment,
        "experimentName": properties["experimentName"],
        "runId": job["name"],
        "runType": "azureml.scriptrun",
        "runTags": properties.get("tags") or {},
        "runProperties": properties.get("properties") or {},
    }
    subject = f"experiments/{experiment}/runs/{job['name']}"
    if job["status"] == "Completed":
        _add(store, job["workspace"], "RunCompleted", subject, data)
    _add(store, job["workspace"], "RunStatusChanged", subject, {**data, "runStatus": job["status"]})


def model_registered(store: WorkspaceStore, workspace: str, name: str, version: str, properties: Document) -> None:
    data = {
        "ModelName": name,
        "ModelVersion": version,
        "ModelTags": properties.get("tags") or {},
        "ModelProperties": properties.get("properties") or {},
    }
    _add(store, workspace, "ModelRegistered", f"models/{name}:{version}", data)


def _add(store: WorkspaceStore, workspace: str, type: str, subject: str, data: Document) -> None:
    event = {"specversion": "1.0", "id": str(uuid.uuid4()), "source": workspace, "type": _TYPE + type}
    store.add_event({**event, "subject": subject, "time": now_iso(), "data": data})


class Sender(Worker):
    """Sends the outbox in order; an event leaves it only after `emit` returned."""

    def __init__(self, store: WorkspaceStore, emit: Emit, take_fault: Callable[[str], Document | None]) -> None:
        super().__init__("azure-ml-events")
        self._store, self._emit, self._take_fault = store, emit, take_fault

    def _run(self) -> None:
        pause_s = 0.05
        held: list[tuple[float, Document]] = []
        while not self._stopping.wait(pause_s):
            try:
                while not self._stopping.is_set() and (entry := self._store.next_event()):
                    id, event = entry
                    # Azure docs, "Event Grid message delivery and retry": at least once, and in no order.
                    if disorder := self._take_fault("disorder_events"):
                        whens = [time.time() + disorder["late_s"] * times for times in (disorder["count"] % 2, 2)]
                        held += [(when, event) for when in whens]
                    elif self._take_fault("drop_events") is None:
                        self._emit(event)
                    self._store.remove_event(id)
                while held and (late := min(held, key=lambda one: one[0]))[0] <= time.time():
                    self._emit(late[1])
                    held.remove(late)
                pause_s = 0.05
            except Exception:
                log.exception("an event could not be sent; it will be sent again")
                pause_s = min(5.0, pause_s * 2)
