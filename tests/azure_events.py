"""Events as Azure sends them to our queues."""

from __future__ import annotations

from typing import Any

import orjson

from shared.domain.paths import run_id_of_blob
from shared.ports import Message


def blob_created(path: str, etag: str) -> Message:
    """Event Grid's event of a blob. One version of a blob gives one id, so that a simulation repeats itself."""
    container, _, name = path.partition("/")
    subject = f"/blobServices/default/containers/{container}/blobs/{name}"
    source = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a"
    return _event(f"event-of-{run_id_of_blob(path, etag)}", "Microsoft.Storage.BlobCreated", source, subject, eTag=etag)


def job_changed(job: str, id: str) -> Message:
    """Azure ML's event of a job."""
    source = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
    subject = f"experiments/droptune/runs/{job}"
    return _event(f"{job}.{id}", "Microsoft.MachineLearningServices.RunStatusChanged", source, subject, runId=job)


def _event(id: str, type: str, source: str, subject: str, **data: Any) -> Message:
    body = {"specversion": "1.0", "id": id, "type": type, "source": source, "subject": subject, "data": data}
    return Message(id, type, orjson.dumps(body))
