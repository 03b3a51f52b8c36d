"""Runs at a given point of their life, and callers with a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, cast

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from typing_extensions import Unpack

from functions.http.auth import Caller
from shared.domain.endpoint import EndpointRecord
from shared.domain.events import EVENT_TYPES, CancelRequested
from shared.domain.jobs import MetricPoint
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe
from shared.domain.run import NON_TERMINAL, Run, RunChanges, Status
from shared.pipeline import Stage
from shared.ports import JobLauncher, Services
from shared.records import endpoints
from shared.runner import Handled, Runner
from shared.step_support.outcome import Draft, Outcome, event_of
from tests.unit.shared.support import RESULT, ROW, VERDICT, drop

RESOLVED = resolve(Recipe(base_model="droptune/tiny-llama"), "shop", train_rows=100, characters_max=100)


class SettableClock:
    """The system's time, until a test sets another."""

    def __init__(self) -> None:
        self.moment: datetime | None = None

    def now(self) -> datetime:
        return self.moment or datetime.now(UTC)


class JobCurves:
    """A platform whose curves a test may set; everything else is asked of `platform`."""

    platform: JobLauncher

    def __init__(self) -> None:
        self.of: Callable[[str], list[MetricPoint]] | None = None

    def metric_history(self, job_name: str, key: str) -> list[MetricPoint]:
        return self.of(key) if self.of else self.platform.metric_history(job_name, key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.platform, name)


def enter(
    services: Services, run: Run, status: Status, events: tuple[Draft, ...] = (), **changes: Unpack[RunChanges]
) -> Run:
    """The run moved to a status by the real runner, as a stage that may do anything would."""
    outcome = Outcome(status, changes, events)
    stage = Stage(
        name="anything",
        description="",
        moves=frozenset(product(NON_TERMINAL, Status)),
        publishes=tuple(EVENT_TYPES.values()),
        step=lambda event, run, services: outcome,
    )
    event = event_of(run, CancelRequested(by="test"), run.updated_at)
    assert Runner(services).handle(stage, event) is Handled.APPLIED
    moved = Runner(services).load(run.id)
    assert moved is not None
    return moved


def awaiting_approval(services: Services, requested_by: str | None = "ada@contoso.example", text: bytes = ROW) -> Run:
    run = drop(services, Runner(services), requested_by=requested_by, text=text)
    assert run is not None
    return enter(services, run, Status.AWAITING_APPROVAL, recipe=RESOLVED, evaluation=RESULT, verdict=VERDICT)


def in_production(services: Services, *, kept_h: float | None = 1.0, name: str = "shop") -> EndpointRecord:
    """An endpoint whose previous deployment is kept for some hours, negative if they are over."""
    run = drop(services, Runner(services), text=name.encode())
    assert run is not None
    now = services.clock.now()
    enter(services, run, Status.DEPLOYED)
    record = EndpointRecord(
        endpoint=name,
        project="shop",
        champion=run.id,
        deployment="d-new",
        model="shop:2",
        scoring_uri="http://127.0.0.1:1/shop/",
        promoted_at=now,
    )
    if kept_h is not None:
        old = record.model_copy(update={"champion": "run-0", "deployment": "d-old", "model": "shop:1"})
        record = record.model_copy(update={"previous": old.as_previous(now + timedelta(hours=kept_h))})
    endpoints.write(services.store, record, replacing=None)
    return record


@contextmanager
def asking_as(client: TestClient, name: str, *roles: str, is_person: bool = True) -> Iterator[None]:
    """Requests come from somebody who proved to be `name`."""
    app = cast(FastAPI, client.app)
    before = app.state.authenticator
    caller = Caller(name, frozenset(roles), id=name, is_person=is_person)
    app.state.authenticator = lambda: lambda request: caller
    try:
        yield
    finally:
        app.state.authenticator = before


def routes(api: FastAPI, *, all: bool = False) -> list[str]:
    """Method and path of each documented one, or of all; to make the document would take a quarter of a second."""
    return [
        f"{method} {context.path_format}"
        for context in iter_route_contexts(api.routes)
        if all or context.include_in_schema
        for method in sorted({*(context.methods or ())} - {"HEAD"})
    ]
