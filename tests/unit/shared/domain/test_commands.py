"""Commands and events of the queues: their exact shape, and what is refused."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from shared.domain.commands import (
    BlobCreated,
    CopyBlob,
    InspectJob,
    StartRun,
    copy_of,
    job_of,
    parse_request,
    to_cloudevent,
)
from shared.domain.errors import InvalidInput
from shared.domain.paths import run_id_of_blob
from tests.azure_events import blob_created, job_changed

START = StartRun(path="datasets/shop/train.jsonl", etag="e1", key="k", requested_by="ada", parent_run="run-1")


def test_the_command_that_starts_a_run_has_this_shape() -> None:
    assert to_cloudevent(START) == {
        "specversion": "1.0",
        "id": run_id_of_blob("datasets/shop/train.jsonl", "e1", "k"),
        "type": "droptune.run.start.v1",
        "source": "/droptune",
        "datacontenttype": "application/json",
        "data": {
            "path": "datasets/shop/train.jsonl",
            "etag": "e1",
            "key": "k",
            "requested_by": "ada",
            "requester_id": None,
            "parent_run": "run-1",
        },
    }


def test_the_command_that_looks_at_a_job_has_this_shape() -> None:
    assert to_cloudevent(InspectJob(job="run-0123456789ab-training-1", poll="3.2")) == {
        "specversion": "1.0",
        "id": "run-0123456789ab-training-1.poll.3.2",
        "type": "droptune.job.inspect.v1",
        "source": "/droptune",
        "datacontenttype": "application/json",
        "data": {"job": "run-0123456789ab-training-1", "poll": "3.2"},
    }


def test_a_command_is_read_as_it_was_sent() -> None:
    assert parse_request(to_cloudevent(START)) == START
    assert job_of(to_cloudevent(InspectJob(job="a-training-1", poll="1"))) == "a-training-1"


def test_events_of_azure_are_read_too() -> None:
    event = orjson.loads(blob_created("datasets/shop/march/train.jsonl", "e1").body)
    assert parse_request(event) == BlobCreated(id=event["id"], path="datasets/shop/march/train.jsonl")
    assert job_of(orjson.loads(job_changed("a-training-1", "1").body)) == "a-training-1"
    assert job_of({"type": "Microsoft.MachineLearningServices.ModelRegistered", "data": {"ModelName": "m"}}) == ""


# Azure docs, "Azure Blob Storage as an Event Grid source" and "Azure Data Lake Storage Gen2 as an Event Grid source":
# each `api` of a BlobCreated. In the data lake a file is created empty and announced again when it is closed.
APIS = ("PutBlob", "PutBlockList", "CopyBlob", "CreateFile", "FlushWithClose", "SftpCreate", "SftpCommit")
WITHOUT = ("clientRequestId", "contentType", "contentLength", "blobType", "url", "sequencer", "storageDiagnostics")
PATH = "/blobServices/default/containers/datasets/blobs/shop/march/train.jsonl"


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("missing", [(), WITHOUT, ("data",)], ids=["whole", "short", "without-data"])
def test_every_documented_shape_of_a_blob_s_event_is_read(api: str, missing: tuple[str, ...]) -> None:
    data = {
        "api": api,
        "clientRequestId": "6d79dbfb-0e37-4fc4-981f-442c9ca65760",
        "requestId": "831e1650-001e-001b-66ab-eeb76e000000",
        "eTag": "0x8D4BCC2E4835CD0",
        "contentType": "text/plain",
        "contentLength": 0 if api == "CreateFile" else 524_288,
        "contentOffset": 0,
        "blobType": "BlockBlob",
        "accessTier": "Default",
        "url": "https://a.dfs.core.windows.net/datasets/shop/march/train.jsonl",
        "sequencer": "00000000000004420000000000028963",
        "identity": "$superuser",
        "storageDiagnostics": {"batchId": "b68529f3-68cd-4744-baa4-3c0498ec19f0"},
    }
    event = {
        "specversion": "1.0",
        "id": "831e1650-001e-001b-66ab-eeb76e069631",
        "source": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a",
        "type": "Microsoft.Storage.BlobCreated",
        "subject": PATH,
        "time": "2017-06-26T18:41:00.9584103Z",
        "data": {name: value for name, value in data.items() if name not in missing},
    }
    kept = {name: value for name, value in event.items() if name not in missing}
    assert parse_request(kept) == BlobCreated(id=str(event["id"]), path="datasets/shop/march/train.jsonl")


# Azure docs, "Azure Machine Learning as an Event Grid source". runType may be null (the same page's sample), an unknown
# field stands for what a later version of the service adds.
@pytest.mark.parametrize("type", ["RunStatusChanged", "RunCompleted"])
@pytest.mark.parametrize("more", [{}, {"runStatus": "failed"}, {"runType": None, "CreatedBy": {"userName": "x"}}])
def test_every_documented_shape_of_a_job_s_event_is_read(type: str, more: dict[str, Any]) -> None:
    data = {
        "experimentId": "0fa9dfaa-cba3-4fa7-b590-23e48548f5c1",
        "experimentName": "automl-local-regression",
        "runId": "run-0123456789ab-training-1",
        "runType": "azureml.scriptrun",
        "runTags": {},
        "runProperties": {"snapshotId": "1"},
    }
    subject = f"experiments/{data['experimentId']}/runs/{data['runId']}"
    event = {"type": f"Microsoft.MachineLearningServices.{type}", "subject": subject, "data": data | more}
    assert job_of(event) == "run-0123456789ab-training-1"
    assert job_of({**event, "data": {"runId": data["runId"]}}) == "run-0123456789ab-training-1"


def test_what_an_event_of_azure_says_of_requesters_is_not_believed() -> None:
    event = orjson.loads(blob_created("datasets/shop/train.jsonl", "e1").body)
    request = parse_request({**event, "requested_by": "ada", "idempotency_key": "k"})
    assert (request.requested_by, request.key) == (None, "")


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": "Microsoft.Storage.BlobDeleted", "subject": "/blobServices/default/containers/datasets/blobs/p/a"},
        {"type": "Microsoft.Storage.BlobCreated", "subject": "/blobServices/default/containers/runs/blobs/p/a"},
        {"type": "Microsoft.Storage.BlobCreated", "subject": "nonsense"},
    ],
)
def test_what_is_no_blob_event_is_refused_by_name(event: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="not_a_blob_event"):
        parse_request(event)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"path": "datasets/shop/train.jsonl"},
        {"path": "datasets/shop/train.jsonl", "etag": ""},
        {"path": "runs/shop/train.jsonl", "etag": "e1"},
        {"path": "datasets/", "etag": "e1"},
        {"path": "datasets/shop/train.jsonl", "etag": "e1", "key": 5},
        {"path": "datasets/shop/train.jsonl", "etag": "e1", "key": {"a": 1}},
        {"path": "datasets/shop/train.jsonl", "etag": "e1", "key": "k" * 5000},
        {"path": "datasets/shop/train.jsonl", "etag": "e" * 5000},
        {"path": "datasets/shop/train.jsonl", "etag": "e1", "requested_by": 5},
        {"path": "datasets/shop/train.jsonl", "etag": "e1", "requested_by": "a" * 5000},
        {"path": "datasets/shop/train.jsonl", "etag": "e1", "parent_run": {}},
    ],
)
def test_a_malformed_start_is_refused_by_name(data: Any) -> None:
    with pytest.raises(InvalidInput, match="malformed_command"):
        parse_request({**to_cloudevent(START), "data": data})


COPY = CopyBlob(project="shop", url="https://lake.dfs.core.windows.net/raw/a%20b.jsonl", key="k")


def test_the_command_that_copies_a_blob_is_read_as_it_was_sent() -> None:
    body = to_cloudevent(COPY)
    assert (body["type"], body["id"]) == ("droptune.blob.copy.v1", "copy-k")
    assert copy_of(body) == COPY
    assert COPY.path.startswith("datasets/shop/lake-")
    assert COPY.path.endswith("/a b.jsonl")
    assert copy_of(to_cloudevent(START)) is None


@pytest.mark.parametrize("data", [None, {}, {**COPY.model_dump(), "project": "A B"}, {**COPY.model_dump(), "url": 5}])
def test_a_malformed_copy_is_refused_by_name(data: Any) -> None:
    with pytest.raises(InvalidInput, match="malformed_command"):
        copy_of({**to_cloudevent(COPY), "data": data})


@pytest.mark.parametrize("data", [None, {}, {"job": "", "poll": "1"}, {"job": "a"}, {"job": "a" * 5000, "poll": "1"}])
def test_a_malformed_look_is_refused_by_name(data: Any) -> None:
    with pytest.raises(InvalidInput, match="malformed_command"):
        job_of({"type": InspectJob.wire_type, "data": data})


def test_a_field_of_another_version_is_ignored() -> None:
    command = InspectJob(job="a", poll="1")
    assert job_of({"type": InspectJob.wire_type, "data": {**command.model_dump(), "since": "tomorrow"}}) == "a"
    body = to_cloudevent(START)
    assert parse_request({**body, "data": {**body["data"], "because": {"of": 5}}}) == START


@pytest.mark.parametrize("data", [None, 5, "x", []])
def test_a_job_event_without_an_object_is_refused_by_name(data: Any) -> None:
    with pytest.raises(InvalidInput, match="malformed_event"):
        job_of({"type": "Microsoft.MachineLearningServices.RunStatusChanged", "data": data})
