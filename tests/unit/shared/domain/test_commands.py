"""Commands and events of the queues: their exact shape, and what is refused."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from shared.domain.commands import BlobCreated, InspectJob, StartRun, job_of, parse_request, to_cloudevent
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
