"""What an order about an endpoint may still do once the policy, the license or the model's files are others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest

from shared.domain import paths
from shared.domain.endpoint import EndpointRecord, Stopped
from shared.domain.errors import PermanentFailure, Transient
from shared.domain.events import EndpointOrdered, RollbackRequested
from shared.domain.jobs import ModelSpec
from shared.domain.policy import PlatformPolicy
from shared.domain.run import Decision, Run
from shared.ports import Services
from shared.records import claims, endpoints, policies, runs
from shared.step_support.candidate import model_sha256
from shared.step_support.outcome import Draft, event_of
from shared.steps.retire_deployments import stop_idle
from shared.steps.retrain import retrain
from shared.steps.roll_back import roll_back
from tests.clock import ManualClock
from tests.unit.shared.steps.production import NEW, OLD, Endpoint
from tests.unit.shared.support import CURATED

MOVED = {"projects": {"bank": {"owners": ["bob"], "endpoints": ["shop"]}}}
CLAIM = claims.endpoint_claim("shop")


class Watched(Endpoint):
    """Also keeps what it is told beside traffic."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def begin_delete_endpoint(self, name: str) -> None:
        self.calls.append(f"delete {name}")

    def register_model(self, spec: ModelSpec) -> None:
        self.calls.append(f"register {spec.name}")

    def begin_endpoint(self, name: str, tags: dict[str, str]) -> bool:
        return False


@pytest.fixture
def endpoint() -> Watched:
    return Watched()


def put(services: Services, document: dict[str, Any]) -> None:
    version = policies.read(services.store).version
    policy = PlatformPolicy.model_validate(document)
    policies.apply(services.store, policy, version, "root", "root", services.clock.now())


def order(run: Run, to: Literal["back", "restored", "deleted"], project: str = "shop") -> Any:
    names = {"endpoint": "shop", "project": project, "by": "ada"}
    data = RollbackRequested(**names, deployment=NEW, to=OLD) if to == "back" else EndpointOrdered(**names, to=to)
    return event_of(run, data, run.updated_at)


@pytest.mark.parametrize("project", ["shop", ""], ids=["by its owner of then", "of an earlier version"])
@pytest.mark.parametrize("to", ["back", "restored", "deleted"])
def test_an_order_of_who_does_not_own_the_endpoint_any_more_does_nothing(
    ports: Services, endpoint: Watched, champion: Run, record: EndpointRecord, to: Any, project: str
) -> None:
    put(ports, MOVED)
    with pytest.raises(PermanentFailure, match=r"endpoint_of_another_project: .* of project bank"):
        roll_back(order(champion, to, project), champion, ports)
    assert (endpoint.calls, endpoint.requested) == ([], {NEW: 100})
    assert claims.read(ports.store, CLAIM) is None


@pytest.mark.parametrize("to", ["back", "deleted"])
def test_its_owner_by_the_policy_rolls_back_and_deletes_what_another_project_has_deployed(
    ports: Services, endpoint: Watched, champion: Run, record: EndpointRecord, to: Any
) -> None:
    """And no limit stands in the way of it."""
    put(ports, {**MOVED, "limits": {"base_model": {"one_of": ["microsoft/*"]}}})
    with pytest.raises(Transient, match="traffic_shifting" if to == "back" else "endpoint_deleting"):
        roll_back(order(champion, to, "bank"), champion, ports)
    assert (endpoint.calls, endpoint.requested) == (([], {OLD: 100}) if to == "back" else (["delete shop"], {NEW: 100}))


def test_a_rollback_that_has_begun_is_carried_out_whoever_is_the_owner_by_now(
    ports: Services, endpoint: Watched, champion: Run, record: EndpointRecord
) -> None:
    with pytest.raises(Transient, match="traffic_shifting"):
        roll_back(order(champion, "back"), champion, ports)
    put(ports, MOVED)
    endpoint.settle()
    roll_back(order(champion, "back"), champion, ports)
    found = endpoints.read(ports.store, "shop")
    assert found is not None
    assert found.deployment == OLD


def poison(run: Run, services: Services) -> None:
    services.blobs.write(paths.run(run.id, "model/merged/model.safetensors"), [b"poisoned!"])


NOT_RESTORED: dict[str, tuple[Callable[[Run, Services], None], str]] = {
    "other weights": (poison, "model_changed"),
    "a base that is not allowed": (
        lambda run, services: put(services, {"limits": {"base_model": {"one_of": ["microsoft/*"]}}}),
        "policy",
    ),
    "more must approve": (lambda run, services: put(services, {"approvers": 2, "approvers_if_unknown": 2}), "not_app"),
}


@pytest.mark.parametrize(("change", "code"), [*NOT_RESTORED.values(), (None, None)], ids=[*NOT_RESTORED, "nothing"])
def test_what_would_not_be_deployed_is_not_restored(
    ports: Services, endpoint: Watched, champion: Run, record: EndpointRecord, change: Any, code: str | None
) -> None:
    stopped = record.model_copy(update={"stopped": Stopped(deployment=NEW, reason="idle", at=ports.clock.now())})
    endpoints.write(ports.store, stopped, replacing=record)
    put(ports, {"approvers_if_unknown": 1})
    ports.blobs.write(paths.run(champion.id, "model/merged/model.safetensors"), [b"evaluated"])
    approved = (Decision(granted=True, by="ada", by_id="ada", at=champion.updated_at),)
    sha256 = model_sha256(champion, ports.blobs)
    run = champion.evolve(model_sha256=sha256, approvals=approved, curated=CURATED)
    if change:
        change(run, ports)
    with pytest.raises(PermanentFailure if code else Transient, match=code or "endpoint_provisioning"):
        roll_back(order(run, "restored"), run, ports)
    assert endpoint.calls == ([] if code else ["register shop"])


def test_a_schedule_asks_for_nothing_at_an_endpoint_of_another_project(
    ports: Services, clock: ManualClock, champion: Run, record: EndpointRecord
) -> None:
    stored = runs.read(ports.store, champion.id)
    assert stored is not None
    ports.store.batch(champion.id, [runs.replacement(champion.evolve(status="deployed"), stored)])
    clock.advance(7 * 24 * 3600)
    put(ports, MOVED)
    assert retrain(record, champion, ports) is None
    put(ports, {})
    assert retrain(record, champion, ports) is not None


@pytest.mark.parametrize(("hours_of_platform", "traffic"), [(0, {NEW: 100}), (4, {})])
def test_the_recipe_of_a_project_stops_no_endpoint_of_another(
    ports: Services,
    endpoint: Watched,
    clock: ManualClock,
    champion: Run,
    record: EndpointRecord,
    hours_of_platform: float,
    traffic: dict[str, int],
) -> None:
    ports = replace(ports, config=replace(ports.config, endpoint_idle_hours=hours_of_platform))
    alone = record.model_copy(update={"previous": None})
    endpoints.write(ports.store, alone, replacing=record)
    deployment = champion.resolved.requested.deployment.model_copy(update={"idle_hours": 4.0})
    requested = champion.resolved.requested.model_copy(update={"deployment": deployment})
    run = champion.evolve(recipe=champion.resolved.model_copy(update={"requested": requested}))
    put(ports, MOVED)
    clock.advance(5 * 3600)
    stop_idle(alone, endpoint.get_endpoint("shop"), run, ports, list[Draft]().append)
    assert endpoint.requested == traffic
