"""Drops, received messages and stages for tests of the runner."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import orjson

from shared.domain.commands import BlobCreated, StartRun
from shared.domain.dataset import CuratedVersion, DatasetRef
from shared.domain.evaluation import EvaluationResult, Gain, GateCheck, Score, Verdict
from shared.domain.events import DatasetUploaded, Event, EventData, ValidationPassed, ValidationRetryDue, parse_event
from shared.domain.run import Run, Status
from shared.pipeline import Stage
from shared.ports import ReceivedMessage, Services
from shared.records import uploads
from shared.runner import Runner
from shared.step_support.outcome import Draft, Outcome
from shared.steps.receive_dataset import receive_dataset

CURATED = CuratedVersion(
    project="shop",
    version="v1",
    source=DatasetRef(path="datasets/shop/train.jsonl", etag="1", size_bytes=1, sha256="0" * 64),
    train_rows=100,
    eval_rows=10,
    characters_max=100,
)
RESULT = EvaluationResult(
    base=Score(mean=0.1, low=0.05, high=0.15, rows=120),
    candidate=Score(mean=0.9, low=0.85, high=0.95, rows=120),
    gains=(Gain(over="base", mean=0.8, low=0.7, high=0.9),),
    answers_differ=0.95,
    template_sha256="0" * 64,
    base_template_sha256="0" * 64,
)
VERDICT = Verdict(passed=True, checks=(GateCheck(name="min_score", passed=True, detail="0.900"),))
ROW = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'


def drop(
    services: Services,
    runner: Runner,
    path: str = "datasets/shop/train.jsonl",
    text: bytes | None = ROW,
    requested_by: str | None = None,
) -> Run | None:
    """Write a blob (without a text: as it lies there) and receive its event, as Event Grid and the host would bring
    it."""
    info = services.blobs.write(path, [text]) if text is not None else services.blobs.info(path)
    assert info is not None
    if requested_by and text is not None:
        by, sha256 = uploads.Uploaders(requested_by, (requested_by,)), hashlib.sha256(text).hexdigest()
        uploads.record(services.store, path, info.etag, sha256, by, services.clock.now())
    request = (
        StartRun(path=info.path, etag=info.etag, requested_by=requested_by, requester_id=requested_by)
        if requested_by
        else BlobCreated(id="event-1", path=info.path)
    )
    reception = receive_dataset(request, services)
    return runner.create(reception, "event-1", request.wire_type) if reception else None


def take(services: Services, entity: str) -> list[ReceivedMessage]:
    """Everything that waits at an entity, completed."""
    received = services.bus.receive(entity, max_messages=100, wait_s=0)
    for message in received:
        services.bus.complete(message)
    return received


def events_at(services: Services, subscription: str) -> list[Event[EventData]]:
    return [parse_event(orjson.loads(r.message.body)) for r in take(services, f"pipeline/{subscription}")]


def validating(step: Callable[[Any, Run, Services], Outcome | None]) -> Stage:
    """The row of validate_dataset with another step."""
    return Stage(
        name="validate_dataset",
        description="",
        wakes=(DatasetUploaded, ValidationRetryDue),
        moves=frozenset({(Status.RECEIVED, Status.VALIDATED), (Status.RECEIVED, Status.REJECTED)}),
        publishes=(ValidationPassed,),
        step=step,
    )


def passes(event: Event[EventData], run: Run, services: Services) -> Outcome:
    draft = Draft(ValidationPassed(version="v1", train_rows=1, eval_rows=1))
    return Outcome(status=Status.VALIDATED, events=(draft,))
