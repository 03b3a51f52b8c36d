"""What a run has to send, and what was handled for it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from shared.domain.errors import StoreConflict, UnreadableDocument
from shared.domain.run import Run
from shared.ports import Message, Services, Write
from shared.records import outbox
from shared.records.outbox import Outgoing
from shared.runner import Runner
from tests.clock import ManualClock
from tests.unit.shared.support import drop

LATER = timedelta(hours=1)


@pytest.fixture
def run(services: Services, runner: Runner) -> Run:
    created = drop(services, runner)
    assert created is not None
    return created


@pytest.fixture
def entry(services: Services, run: Run) -> Outgoing:
    """A message with everything a message may have, in the outbox."""
    due = services.clock.now() + LATER
    message = Message("e-1", "subject", b'{"id":"e-1","n":1}', {"retry": "2"}, due)
    services.store.batch(run.id, [outbox.creation(Outgoing("deliveries", message), run, services.clock.now())])
    return Outgoing("deliveries", message)


def test_an_entry_comes_back_as_the_message_that_was_put_in(services: Services, run: Run, entry: Outgoing) -> None:
    assert outbox.unsent(services.store, run.id, before=services.clock.now() + LATER) == [entry]


def test_a_young_entry_is_left_to_the_process_that_wrote_it(
    services: Services, clock: ManualClock, run: Run, entry: Outgoing
) -> None:
    written = clock.now()
    assert outbox.unsent(services.store, run.id, before=written) == []
    assert outbox.runs_with_unsent(services.store, before=written) == set()
    assert outbox.runs_with_unsent(services.store, before=written + LATER) == {run.id}


def test_what_is_marked_as_sent_is_not_sent_again(services: Services, run: Run, entry: Outgoing) -> None:
    for _ in range(2):
        outbox.mark_sent(services.store, run.id, [entry])
    assert outbox.unsent(services.store, run.id, before=services.clock.now() + LATER) == []


def test_the_events_of_a_run_are_its_facts_once_without_copies_and_deliveries(services: Services, run: Run) -> None:
    [uploaded] = outbox.events_of(services.store, run.id, dict)
    copy = Message(f"{uploaded['id']}~1", "subject", b'{"id":"%s"}' % uploaded["id"].encode())
    delivery = Message("d-1@ab", "subject", b'{"url":"https://example.com"}')
    for message in (copy, delivery):
        services.store.batch(run.id, [outbox.creation(Outgoing("q", message), run, services.clock.now())])
    assert outbox.events_of(services.store, run.id, dict) == [uploaded]


BROKEN: dict[str, Any] = {
    "revision": "x",
    "body": None,
    "body of a number": 5,
    "body without data": {"id": "e-9", "type": "t"},
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_entry_that_cannot_be_read_is_named_and_the_other_events_are_there(
    services: Services, run: Run, name: str
) -> None:
    facts = outbox.events_of(services.store, run.id, dict)
    message = Message("e-9", "subject", b'{"id":"e-9","type":"t","data":{}}')
    document = outbox.creation(Outgoing("pipeline", message), run, services.clock.now()).document
    assert document is not None
    services.store.batch(run.id, [Write("create", "e-9", {**document, "id": "e-9", name.split()[0]: BROKEN[name]})])
    unreadable: list[UnreadableDocument] = []
    read = outbox.events_of(services.store, run.id, lambda event: {**event, "data": event["data"]}, unreadable)
    assert (read, [(each.type, each.id) for each in unreadable]) == (facts, [("outbox", "e-9")])


def test_an_event_is_handled_once_by_each_stage(services: Services, run: Run) -> None:
    mark, other = outbox.inbox_mark("notify", "e-1"), outbox.inbox_mark("fail_run", "e-1")
    services.store.batch(run.id, [outbox.mark_handled(mark)])
    assert outbox.handled(services.store, run.id, mark)
    assert not outbox.handled(services.store, run.id, other)
    with pytest.raises(StoreConflict):
        services.store.batch(run.id, [outbox.mark_handled(mark)])
