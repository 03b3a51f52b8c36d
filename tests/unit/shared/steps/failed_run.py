"""An event that every channel wants by default."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.domain.errors import FailureClass, Problem
from shared.domain.events import Event, EventData, RunFailed


def failed(run_id: str) -> Event[EventData]:
    problem = Problem(code="boom", message="it broke")
    data = RunFailed(failure_class=FailureClass.CODE, problem=problem)
    return Event(data=data, run_id=run_id, project="shop", attempt=1, revision=1, time=datetime(2026, 1, 1, tzinfo=UTC))
