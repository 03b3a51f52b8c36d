"""What a step hands back: the change it wants. The runner alone writes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from shared.domain.events import Event
from shared.domain.run import Run, Status
from shared.ports import Message, Services


class Fact:
    """An event to state, still without its envelope: the runner knows revision, attempt and time.

    `delay` holds it back on the bus.
    """

    def __init__(self, event: type[Event], *, delay: timedelta = timedelta(0), **payload: Any) -> None:
        self.event = event
        self.delay = delay
        self.payload = payload

    def at(self, run: Run, **envelope: Any) -> Event:
        """The event as a fact of `run` at its present revision."""
        return self.event(
            run_id=run.id,
            project=run.project,
            attempt=run.attempt,
            revision=run.revision,
            **{"time": run.updated_at, **envelope, **self.payload},
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """`status` None leaves the run as it is: only the inbox mark and what is sent are written.

    `undo` reverses the step's effect after another writer moved the run on first. It gets the run as that
    writer left it: what that run owns is not undone, for the winner may have done the same effect.
    `messages` go to queues, beside the facts that go to the topic.
    """

    status: Status | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    facts: tuple[Fact, ...] = ()
    messages: tuple[tuple[str, Message], ...] = ()
    note: str = ""
    undo: Callable[[Run], None] | None = None


Step = Callable[[Any, Run, Services], Outcome | None]
