"""dlq list, replay, release: what is listed, sent and said."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.cli.fake_api import RUN_ID, START, FakeDroptune

Cli = Callable[..., int]


Capture = pytest.CaptureFixture[str]


def dead(entity: str, count: int = 1) -> dict[str, Any]:
    message = {
        "id": "m1",
        "subject": "droptune.run.failed.v1",
        "reason": "MaxDeliveryCountExceeded",
        "description": "delivered 10 times [red]",
        "enqueued_at": START.isoformat(),
        "delivery_count": 10,
    }
    return {"entity": entity, "count": count, "messages": [message]}


def test_dead_letters_are_listed_and_the_rest_is_counted(fake: FakeDroptune, droptune: Cli, capsys: Capture) -> None:
    assert droptune("dlq", "list") == 0
    assert capsys.readouterr().out == "no dead letters\n"
    fake.dead = [dead("job-events", 7)]
    assert droptune("dlq", "list") == 0
    _, first, rest = capsys.readouterr().out.splitlines()
    assert first.split()[:4] == ["job-events", "m1", "droptune.run.failed.v1", "10"]
    assert first.endswith("MaxDeliveryCountExceeded: delivered 10 times [red]")
    assert rest.split() == ["job-events", "and", "6", "more"]
    assert droptune("dlq", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out)["data"][0]["count"] == 7


def test_documents_that_cannot_be_read_are_listed_and_released(
    fake: FakeDroptune, droptune: Cli, capsys: Capture
) -> None:
    fake.unreadable = [{"type": "run", "partition": RUN_ID, "id": "run", "problem": "KeyError: [red]"}]
    assert droptune("dlq", "list") == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["run", RUN_ID, "run", "KeyError:", "[red]"]
    assert droptune("dlq", "release", RUN_ID) == 0
    assert capsys.readouterr().out == "kept as quarantine/document-1.json\n"
    assert fake.commands == [("release", {"partition": RUN_ID, "id": "run"})]
    fake.released = RUN_ID
    assert droptune("dlq", "release", RUN_ID, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"path": "quarantine/document-1.json", "run": RUN_ID}
    assert droptune("dlq", "release", RUN_ID) == 0
    assert capsys.readouterr().out.endswith(f"; of run {RUN_ID} what can be read stays: droptune watch {RUN_ID}\n")


def test_an_entity_that_was_not_looked_at_is_listed(fake: FakeDroptune, droptune: Cli, capsys: Capture) -> None:
    fake.dead = [{"entity": "job-events", "count": 0, "messages": [], "problem": "no [job-events]"}]
    assert droptune("dlq", "list") == 0
    assert capsys.readouterr().out.split()[6:] == ["job-events", "not", "looked", "at:", "no", "[job-events]"]


def test_a_replay_is_of_all_of_one_entity_or_of_one_message(fake: FakeDroptune, droptune: Cli, capsys: Capture) -> None:
    assert droptune("dlq", "replay") == 0
    assert capsys.readouterr().out == "no dead letters\n"
    fake.dead = [dead("job-events"), dead("pipeline/notify")]
    assert droptune("dlq", "replay") == 0
    assert capsys.readouterr().out == "job-events: 3 sent again\npipeline/notify: 3 sent again\n"
    assert droptune("dlq", "replay", "job-events", "--id", "m1", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"job-events": 3}
    sent = [(body["entity"], body["message_id"]) for _, body in fake.commands]
    assert sent == [("job-events", None), ("pipeline/notify", None), ("job-events", "m1")]
    assert droptune("dlq", "replay", "--id", "m1") == 2
