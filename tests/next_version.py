"""The next version's form of documents and events, as a host of this version meets it beside one of that version.

`NextStore` and `NextBus` are what a host of the next version has. What they write has the next number, a status, an
event and a field with names that this version does not know, and fields that are new everywhere; what they read is what
was written by either version. With `number` 1 only fields are new: a change that takes no number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from shared.domain.upgrades import SCHEMA_VERSION
from shared.embedded.bus import SqliteEventBus
from shared.embedded.store import SqliteRunStore
from shared.ports import Message, ReceivedMessage, Stored, Write
from shared.records.outbox import OUTBOX
from shared.records.runs import RUN

NEXT = SCHEMA_VERSION + 1
STATUS = {"training": "in_training", "evaluating": "in_evaluation"}
EVENT = {"droptune.training.completed.v1": "droptune.training.finished.v2"}
FIELD = {"fingerprint": "print"}
Content = dict[str, Any]


def newer_run(document: Content, number: int) -> Content:
    run = {"note": f"of {document['run_id']}", **document["run"]}
    run["dataset"] = {"note": 1, **run["dataset"]}
    if number == NEXT:
        run = {FIELD.get(name, name): value for name, value in run.items()}
        run["status"] = STATUS.get(run["status"], run["status"])
        run["history"] = [{**line, "status": STATUS.get(line["status"], line["status"])} for line in run["history"]]
        document = {**document, "status": run["status"]}
    return {**document, "run": run, "note": 1}


def older_run(document: Content) -> Content:
    back = {new: old for old, new in STATUS.items()}
    run = {{"print": "fingerprint"}.get(name, name): value for name, value in document["run"].items()}
    run["status"] = back.get(run["status"], run["status"])
    run["history"] = [{**line, "status": back.get(line["status"], line["status"])} for line in run["history"]]
    return {**document, "status": run["status"], "run": run}


def newer_event(body: Content, number: int) -> Content:
    """Commands and events of Azure have no number and stay as they are."""
    if "schemaversion" not in body:
        return body
    type = EVENT.get(body["type"], body["type"]) if number == NEXT else body["type"]
    return {**body, "schemaversion": number, "type": type, "note": 1}


def older_event(body: Content) -> Content:
    back = {new: old for old, new in EVENT.items()}
    if body.get("schemaversion") != NEXT:
        return body
    return {**body, "schemaversion": SCHEMA_VERSION, "type": back.get(body["type"], body["type"])}


class NextStore(SqliteRunStore):
    number = NEXT

    def batch(self, partition: str, writes: Sequence[Write]) -> None:
        super().batch(partition, [self._newer(write) for write in writes])

    def get(self, partition: str, id: str) -> Stored | None:
        stored = super().get(partition, id)
        return stored and _older(stored)

    def list_partition(self, partition: str, type: str) -> list[Stored]:
        return [_older(stored) for stored in super().list_partition(partition, type)]

    def query(
        self, type: str, equals: dict[str, str | int] | None = None, *, limit: int = 100, after: str | None = None
    ) -> tuple[list[Stored], str | None]:
        """By the status that both versions know; those of the other name come first."""
        status = (equals or {}).get("status")
        found, cursor = super().query(type, equals, limit=limit, after=after)
        if status in STATUS and equals is not None and after is None:
            more, _ = super().query(type, {**equals, "status": STATUS[str(status)]}, limit=1000)
            found = more + found
        return [_older(stored) for stored in found], cursor

    def _newer(self, write: Write) -> Write:
        document = write.document
        if document is None:
            return write
        document = {**document, "schema_version": self.number}
        if document["type"] == RUN:
            document = newer_run(document, self.number)
        elif document["type"] == OUTBOX:
            document = {**document, "body": newer_event(document["body"], self.number)}
        return replace(write, document=document)


def _older(stored: Stored) -> Stored:
    document = stored.document
    if document.get("schema_version") == NEXT:
        document = {**document, "schema_version": SCHEMA_VERSION}
        if document["type"] == RUN:
            document = older_run(document)
        elif document["type"] == OUTBOX:
            document = {**document, "body": older_event(document["body"])}
    return replace(stored, document=document)


class NextBus(SqliteEventBus):
    number = NEXT

    def send(self, destination: str, messages: Sequence[Message]) -> None:
        newer = [replace(one, body=_changed(one.body, lambda body: newer_event(body, self.number))) for one in messages]
        super().send(destination, newer)

    def receive(self, entity: str, *, max_messages: int, wait_s: float) -> list[ReceivedMessage]:
        return older_messages(super().receive(entity, max_messages=max_messages, wait_s=wait_s))


def older_messages(received: Iterable[ReceivedMessage]) -> list[ReceivedMessage]:
    return [
        replace(one, message=replace(one.message, body=_changed(one.message.body, older_event))) for one in received
    ]


def _changed(body: bytes, change: Any) -> bytes:
    try:
        content = json.loads(body)
    except ValueError:
        return body
    return json.dumps(change(content)).encode() if isinstance(content, dict) else body
