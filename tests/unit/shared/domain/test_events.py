"""Events: what they may hold, and how they are sent and read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from shared.domain.errors import InvalidInput
from shared.domain.events import EVENT_TYPES, Event, EventData, RunCancelled, RunOverdue, parse_event
from shared.domain.model import MAX_COMMENT, MAX_PERSON


@pytest.mark.parametrize("data", [{"bye": "ada"}, {}, {"by": 7}, {"by": "ada", "run_id": "run-1"}], ids=str)
def test_an_event_with_a_wrong_or_missing_field_cannot_be_built(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RunCancelled(**data)


@pytest.mark.parametrize("cls", EVENT_TYPES.values(), ids=lambda cls: cls.__name__)
def test_no_event_takes_a_field_it_does_not_have(cls: Any) -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        cls(no_such_field=1)


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CANCELLED: Event[EventData] = Event(
    data=RunCancelled(by="ada"), run_id="run-1", project="shop", attempt=1, revision=4, time=NOW
)


@pytest.mark.parametrize("key", ["", "7"])
def test_an_event_comes_back_as_it_was_sent(key: str) -> None:
    event = CANCELLED.model_copy(update={"key": key})
    assert event.id == "run-1.run.cancelled.4" + (f".{key}" if key else "")
    sent = event.to_cloudevent()
    assert (sent["type"], sent["subject"], sent["source"]) == ("droptune.run.cancelled.v1", "run-1", "/projects/shop")
    assert parse_event(sent) == event


def test_a_field_that_a_later_version_added_is_ignored() -> None:
    sent = CANCELLED.to_cloudevent()
    assert parse_event({**sent, "added": 1, "data": {**sent["data"], "added": 2}}) == CANCELLED


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"type": "droptune.run.forgotten.v1"}, "unknown_event_type"),
        ({"type": None}, "unknown_event_type"),
        ({"data": {"by": 7}}, "malformed_event"),
        ({"data": None}, "malformed_event"),
        ({"revision": "many"}, "malformed_event"),
        ({"time": "yesterday"}, "malformed_event"),
        *(
            ({"data": {**CANCELLED.to_cloudevent()["data"], "key": f"a{character}b"}}, "malformed_event")
            for character in "/\\?#\x00"
        ),
    ],
)
def test_an_event_that_cannot_be_read_is_refused_by_name(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_event({**CANCELLED.to_cloudevent(), **changes})
    assert refused.value.problem.code == code


FROM_PEOPLE = [(cls, name) for cls in EVENT_TYPES.values() for name in ("by", "comment") if name in cls.model_fields]


@pytest.mark.parametrize(("cls", "name"), FROM_PEOPLE)
def test_what_a_person_says_in_an_event_is_cut(cls: type[EventData], name: str) -> None:
    reason = {"code": "c", "message": "m"}
    names = {"by": "ada", "comment": "", "endpoint": "e", "deployment": "d", "to": "deleted", "state": "deleted"}
    names |= {"subscription": "s", "target": "webhook"}
    fields: dict[str, Any] = {**names, "traffic": {}, "reason": reason}
    data = {key: value for key, value in fields.items() if key in cls.model_fields} | {name: "x" * 1_000_000}
    sent = {**CANCELLED.to_cloudevent(), "type": cls.wire_type, "data": data}
    read = getattr(parse_event(sent).data, name)
    assert (len(read), read[-2:]) == (MAX_PERSON if name == "by" else MAX_COMMENT, "x\N{HORIZONTAL ELLIPSIS}")


def test_a_time_without_a_zone_is_of_utc() -> None:
    naive = NOW.replace(tzinfo=None).isoformat()
    overdue = {"type": RunOverdue.wire_type, "data": {"status": "training", "deadline_at": naive}}
    event = parse_event({**CANCELLED.to_cloudevent(), **overdue, "time": naive})
    assert (event.time, event.data) == (NOW, RunOverdue(status="training", deadline_at=NOW))


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "soon", None])
def test_a_time_that_no_clock_shows_is_malformed(time: str | None) -> None:
    with pytest.raises(InvalidInput, match="malformed_event"):
        parse_event({**CANCELLED.to_cloudevent(), "time": time})
