"""The errors and their drawing."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import orjson

from shared.domain import errors
from shared.domain.errors import FailureClass, Problem
from shared.domain.events import Event, JobFailed
from shared.ports import Message
from shared.ports.bus import check


def test_the_drawing_shows_every_error_class_and_no_other() -> None:
    assert errors.__doc__ is not None
    drawn = re.findall(r"^([├└]|│   └)── (\w+)", errors.__doc__, re.MULTILINE)
    here = [cls for cls in errors.DroptuneError.__subclasses__() if cls.__module__ == errors.__name__]
    children = [child for cls in here for child in cls.__subclasses__()]
    assert [name for line, name in drawn if "│" not in line] == [cls.__name__ for cls in here]
    assert [name for line, name in drawn if "│" in line] == [cls.__name__ for cls in children]
    assert [grandchild for cls in children for grandchild in cls.__subclasses__()] == []


def test_every_failure_class_has_a_retry_rule() -> None:
    assert errors.RETRY_RULES.keys() == set(errors.FailureClass)


def test_a_problem_of_any_length_fits_into_an_event() -> None:
    long = "ß" * 10**6
    problem = Problem(code=long, message=long, param=long)
    event: Event[JobFailed] = Event(
        data=JobFailed(job="job", failure_class=FailureClass.CODE, problem=problem),
        run_id="run-1",
        project="shop",
        attempt=1,
        revision=1,
        time=datetime(2026, 1, 1, tzinfo=UTC),
    )
    check(Message(event.id, event.wire_type, orjson.dumps(event.to_cloudevent())))
    assert problem.message.endswith("ß…")
