"""What a step hands back: the change it wants. The runner alone writes it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeVar, cast

import orjson
from pydantic import TypeAdapter
from typing_extensions import Unpack

from shared.domain.commands import Command, to_cloudevent
from shared.domain.events import Event, EventData
from shared.domain.run import Run, RunChanges, Status
from shared.ports import Message, Services

Fact = TypeVar("Fact", bound=EventData)

_CHANGES = TypeAdapter(RunChanges)


@dataclass(frozen=True, slots=True)
class Draft:
    """An event to publish, still without its envelope: the runner knows revision, attempt and time.

    `delay` holds it back on the bus. `key` tells apart events of one type at one revision.
    """

    data: EventData
    key: str = ""
    delay: timedelta = timedelta(0)


def event_of(run: Run, data: Fact, time: datetime, key: str = "") -> Event[Fact]:
    """The event about `run` at its present revision."""
    return Event(
        data=data, run_id=run.id, project=run.project, attempt=run.attempt, revision=run.revision, time=time, key=key
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """`status` None leaves the run as it is: only the inbox mark and what is sent are written.

    `undo` reverses the step's effect after another writer moved the run on first. It gets the run as that
    writer left it: what that run owns is not undone, for the winner may have done the same effect.
    `after` is an effect for when the run is written, which a crash between the two leaves undone.
    `messages` go to queues, beside the events that go to the topic. Nothing can be edited afterwards.
    Raises ValidationError if `changes` names no field of a run that a step may set, or has a wrong value.
    """

    status: Status | None = None
    changes: RunChanges = field(default_factory=RunChanges)
    events: tuple[Draft, ...] = ()
    messages: tuple[tuple[str, Message], ...] = ()
    note: str = ""
    undo: Callable[[Run], None] | None = None
    after: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        checked = MappingProxyType(_CHANGES.validate_python(dict(self.changes), strict=True))
        object.__setattr__(self, "changes", cast(RunChanges, checked))

    def with_changes(self, **more: Unpack[RunChanges]) -> "Outcome":
        return replace(self, changes=RunChanges(**{**self.changes, **more}))


Step = Callable[[Any, Run, Services], Outcome | None]


def message_of(command: Command) -> Message:
    """The same command has the same message id."""
    return Message(command.id, command.wire_type, orjson.dumps(to_cloudevent(command)))
