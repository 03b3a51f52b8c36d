"""Runs at a given point of their life, and callers with a name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import product

from typing_extensions import Unpack

from functions.dispatch import runner
from functions.http import api, auth
from functions.http.auth import Caller
from shared.domain.evaluation import EvaluationResult, Gain, GateCheck, Score, Verdict
from shared.domain.events import EVENT_TYPES, CancelRequested
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe
from shared.domain.run import NON_TERMINAL, Run, RunChanges, Status
from shared.pipeline import Stage
from shared.ports import Services
from shared.records import endpoints
from shared.runner import Handled
from shared.step_support.outcome import Draft, Outcome, event_of
from tests.unit.shared.pipeline.support import drop

RESULT = EvaluationResult(
    base=Score(mean=0.1, low=0.05, high=0.15, rows=120),
    candidate=Score(mean=0.9, low=0.85, high=0.95, rows=120),
    gains=(Gain(over="base", mean=0.8, low=0.7, high=0.9),),
    answers_differ=0.95,
    template_sha256="0" * 64,
    base_template_sha256="0" * 64,
)
RESOLVED = resolve(Recipe(base_model="droptune/tiny-llama"), "shop", train_rows=100, characters_max=100)
VERDICT = Verdict(passed=True, checks=(GateCheck(name="min_score", passed=True, detail="0.900"),))


def enter(run: Run, status: Status, events: tuple[Draft, ...] = (), **changes: Unpack[RunChanges]) -> Run:
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
    assert runner().handle(stage, event) is Handled.APPLIED
    moved = runner().load(run.id)
    assert moved is not None
    return moved


def awaiting_approval(services: Services, requested_by: str | None = None) -> Run:
    run = drop(services, runner(), requested_by=requested_by)
    assert run is not None
    return enter(run, Status.AWAITING_APPROVAL, recipe=RESOLVED, evaluation=RESULT, verdict=VERDICT)


def in_production(services: Services, *, kept_h: float | None = 1.0, name: str = "shop") -> endpoints.EndpointRecord:
    """An endpoint whose previous deployment is kept for some hours, negative if they are over."""
    run = drop(services, runner(), text=name.encode())
    assert run is not None
    now = services.clock.now()
    enter(run, Status.DEPLOYED)
    record = endpoints.EndpointRecord(
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
def asking_as(name: str, *roles: str) -> Iterator[None]:
    """Requests come from somebody who proved to be `name`."""
    api.dependency_overrides[auth.authenticate] = lambda: Caller(name, frozenset(roles))
    try:
        yield
    finally:
        del api.dependency_overrides[auth.authenticate]
