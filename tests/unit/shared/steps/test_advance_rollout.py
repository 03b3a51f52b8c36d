"""One step of a rollout at a time, each written only once it is seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.domain import paths
from shared.domain.errors import FailureClass, Problem, Transient
from shared.domain.events import (
    CancelRequested,
    DeploymentProbed,
    Event,
    ModelRolledBack,
    RollbackStarted,
    StageRefused,
)
from shared.domain.jobs import DeploymentSpec
from shared.domain.planning.plan import resolve
from shared.domain.policy import PlatformPolicy, Project
from shared.domain.recipe import Deployment, Recipe
from shared.domain.run import RolloutRef, Run, Status
from shared.pipeline import BY_NAME
from shared.ports import Services, Write
from shared.records import endpoints, outbox, policies
from shared.runner import Handled, Runner
from shared.step_support.candidate import model_sha256
from shared.step_support.outcome import Outcome, event_of
from shared.steps.advance_rollout import UNREACHABLE_ALLOWANCE, advance_rollout
from tests.clock import JUMPS
from tests.unit.functions.http.support import enter
from tests.unit.shared.support import CURATED, drop

NEW, OLD = "d-new", "d-old"
REFUSED = Problem(code="endpoint_busy", message="503")
SILENT = {"problem": REFUSED, "answers_failed": 5, "answers_as_evaluated": 0, "answers_unlike_base": 0}
SLOW = {"latency_s": 4.0, "previous_latency_s": 1.0}
FAILING = {"problem": REFUSED, "answers_failed": 1, "answers_as_evaluated": 4, "answers_unlike_base": 4}


class Traffic:
    """Records what the steps ask of the platform."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def begin_traffic(self, endpoint: str, traffic: dict[str, int]) -> None:
        self.requests.append(traffic)

    def set_autoscale(self, spec: DeploymentSpec) -> None:
        self.requests.append((spec.max_instances, spec.scale_out_above))

    def begin_delete_deployment(self, endpoint: str, name: str) -> None:
        self.requests.append(f"delete {name}")


@pytest.fixture
def platform() -> Traffic:
    return Traffic()


@pytest.fixture
def ports(services: Services, platform: Traffic) -> Services:
    return replace(services, models=platform)  # type: ignore[arg-type]


@pytest.fixture
def run(services: Services, runner: Runner) -> Run:
    created = drop(services, runner)
    assert created is not None
    recipe = Recipe(base_model="droptune/tiny-llama", deployment=Deployment(rollout=(10, 50, 100)))
    return created.evolve(
        status=Status.DEPLOYING,
        recipe=resolve(recipe, "shop", train_rows=100, characters_max=100),
        rollout=RolloutRef(
            endpoint="shop",
            deployment=NEW,
            model="shop:1",
            previous={OLD: 100},
            traffic={OLD: 100},
            step=0,
        ),
    )


def probe(run: Run, **seen: Any) -> Event[DeploymentProbed]:
    assert run.rollout is not None
    good = {
        "endpoint": "shop",
        "deployment": NEW,
        "state": "succeeded",
        "traffic": run.rollout.traffic,
        "answers_requested": 5,
        "answers_as_evaluated": 5,
        "answers_unlike_base": 5,
        "scoring_uri": "http://127.0.0.1:1/shop/",
    }
    time = seen.pop("time", run.updated_at)
    return event_of(run, DeploymentProbed.model_validate({**good, **seen}), time)


def after(run: Run, outcome: Outcome | None) -> Run:
    assert outcome is not None
    return run.evolve(status=outcome.status, **outcome.changes)


def facts(outcome: Outcome | None) -> list[str]:
    assert outcome is not None
    return [draft.data.short_type() for draft in outcome.events]


def test_autoscale_is_there_before_each_share_of_the_traffic(run: Run, ports: Services, platform: Traffic) -> None:
    deployment = run.resolved.requested.deployment.model_copy(update={"max_instances": 3, "scale_out_above": 50.0})
    requested = run.resolved.requested.model_copy(update={"deployment": deployment})
    run = run.evolve(recipe=run.resolved.model_copy(update={"requested": requested}), curated=CURATED)
    for share in ({OLD: 90, NEW: 10}, {OLD: 50, NEW: 50}, {NEW: 100}):
        run = after(run, advance_rollout(probe(run), run, ports))
        assert platform.requests[-2:] == [(3, 50.0), share]


def test_a_good_rollout_goes_by_its_steps_and_ends_promoted(run: Run, ports: Services, platform: Traffic) -> None:
    for share in ({OLD: 90, NEW: 10}, {OLD: 50, NEW: 50}, {NEW: 100}):
        outcome = advance_rollout(probe(run), run, ports)
        assert facts(outcome) == ["traffic.shifted"]
        run = after(run, outcome)
        assert platform.requests[-1] == share
    outcome = advance_rollout(probe(run), run, ports)
    assert facts(outcome) == ["model.promoted"]
    assert after(run, outcome).status is Status.DEPLOYED
    record = endpoints.read(ports.store, "shop")
    assert record is not None
    assert (record.champion, record.deployment) == (run.id, NEW)


@pytest.mark.parametrize("failure", [FailureClass.QUOTA, FailureClass.CAPACITY])
def test_a_deployment_that_was_accepted_and_then_got_no_machine_waits_as_one_that_was_refused(
    run: Run, ports: Services, platform: Traffic, failure: FailureClass
) -> None:
    problem = Problem(code=f"azure_ml_{failure}", message="Not enough of it available")
    seen = {"state": "failed", "problem": problem, "answers_requested": 0, "answers_as_evaluated": 0}
    outcome = advance_rollout(probe(run, **seen), run, ports)
    assert facts(outcome) == ["stage.refused"]
    assert outcome is not None
    assert outcome.events[0].data == StageRefused(stage="deploy_model", failure_class=failure, problem=problem)
    assert (after(run, outcome).status, after(run, outcome).rollout) == (Status.APPROVED, None)
    assert platform.requests == [], "nothing is undone before this is written"
    assert run.rollout is not None
    later = run.evolve(rollout=run.rollout.model_copy(update={"step": 1}))
    assert after(later, advance_rollout(probe(later, **seen), later, ports)).status is Status.ROLLING_BACK


def test_what_the_container_refuses_is_not_waited_for(run: Run, ports: Services) -> None:
    words = Problem(code="container_refused", message="the container of shop answered 400: too long")
    for failed in (1, 5):
        answered = {"answers_as_evaluated": 5 - failed, "answers_unlike_base": 5 - failed}
        seen = probe(run, problem=words, answers_failed=failed, **answered)
        back = after(run, advance_rollout(seen, run, ports))
        assert (back.status, back.rollback_reason) == (Status.ROLLING_BACK, words)


def test_a_shift_that_is_not_seen_yet_is_waited_for(run: Run, ports: Services, platform: Traffic) -> None:
    run = after(run, advance_rollout(probe(run), run, ports))
    assert advance_rollout(probe(run, traffic={OLD: 100}), run, ports) is None
    assert platform.requests == [{OLD: 90, NEW: 10}]


def test_the_first_model_of_an_endpoint_gets_all_traffic_at_once(run: Run, ports: Services, platform: Traffic) -> None:
    assert run.rollout is not None
    first = run.evolve(rollout=run.rollout.model_copy(update={"previous": {}, "traffic": {}}))
    advance_rollout(probe(first), first, ports)
    assert platform.requests == [{NEW: 100}]


@pytest.mark.parametrize(
    ("seen", "code"),
    [
        ({"answers_unlike_base": 0}, "adapter_has_no_effect"),
        ({"answers_requested": 0}, "adapter_has_no_effect"),
        ({"answers_as_evaluated": 3}, "answers_changed"),
        ({"prompts_unlike_evaluated": 1, "answers_as_evaluated": 0}, "template_differs"),
        ({"answers_failed": 1, "answers_as_evaluated": 2, "problem": REFUSED}, "answers_changed"),
        (
            {"state": "failed", "problem": Problem(code="ResourceNotReady", message="crashed")},
            "ResourceNotReady",
        ),
    ],
)
def test_a_bad_candidate_is_taken_back_at_once(
    run: Run, ports: Services, platform: Traffic, seen: dict[str, Any], code: str
) -> None:
    run = after(run, advance_rollout(probe(run), run, ports))
    outcome = advance_rollout(probe(run, **seen), run, ports)
    assert facts(outcome) == ["rollback.started"]
    assert outcome is not None
    [begun] = [draft.data for draft in outcome.events if isinstance(draft.data, RollbackStarted)]
    assert begun.reason.code == code
    assert platform.requests == [{OLD: 90, NEW: 10}], "nothing is undone before it is decided"
    run = after(run, outcome)
    waiting = advance_rollout(probe(run, state="failed", traffic={OLD: 90, NEW: 10}), run, ports)
    assert waiting is None
    assert platform.requests[-1] == {OLD: 100}
    outcome = advance_rollout(probe(run, state="failed", traffic={OLD: 100}), run, ports)
    assert facts(outcome) == ["model.rolled_back"]
    assert outcome is not None
    assert outcome.note.startswith(f"{code}: ")
    [fact] = [draft.data for draft in outcome.events if isinstance(draft.data, ModelRolledBack)]
    assert (fact.reason, fact.by) == (begun.reason, None)
    run = after(run, outcome)
    assert run.status is Status.ROLLED_BACK
    assert run.rollback is not None
    assert (run.rollback.reason, run.rollback.by) == (begun.reason, None)
    assert platform.requests[-1] == f"delete {NEW}"


def test_a_candidate_may_finish_what_it_answers_before_it_is_deleted(
    run: Run, ports: Services, platform: Traffic
) -> None:
    run = after(run, advance_rollout(probe(run), run, ports))
    run = after(run, advance_rollout(probe(run, answers_as_evaluated=0), run, ports))
    run = after(run, advance_rollout(probe(run, traffic={OLD: 100}), run, ports))
    assert run.status is Status.ROLLING_BACK
    soon, late = run.updated_at + timedelta(seconds=9), run.updated_at + timedelta(seconds=10)
    assert advance_rollout(probe(run, time=soon, traffic={OLD: 100}), run, ports) is None
    assert f"delete {NEW}" not in platform.requests
    assert facts(advance_rollout(probe(run, time=late, traffic={OLD: 100}), run, ports)) == ["model.rolled_back"]
    assert platform.requests[-1] == f"delete {NEW}"


@pytest.mark.parametrize(("latency_s", "previous_latency_s"), [(3.0, 1.0), (0.9, 0.1), (9.0, None)])
def test_a_candidate_a_little_slower_or_beyond_compare_goes_on(
    run: Run, ports: Services, latency_s: float, previous_latency_s: float | None
) -> None:
    seen = probe(run, latency_s=latency_s, previous_latency_s=previous_latency_s)
    assert facts(advance_rollout(seen, run, ports)) == ["traffic.shifted"]


def test_a_deployment_without_traffic_that_does_not_answer_gets_two_minutes(
    run: Run, ports: Services, platform: Traffic
) -> None:
    run = after(run, advance_rollout(probe(run, **SILENT), run, ports))
    assert platform.requests == []
    soon, late = run.updated_at + timedelta(seconds=119), run.updated_at + UNREACHABLE_ALLOWANCE
    assert advance_rollout(probe(run, time=soon, **SILENT), run, ports) is None
    outcome = advance_rollout(probe(run, time=late, **SILENT), run, ports)
    assert facts(outcome) == ["rollback.started"]
    assert outcome is not None
    assert outcome.note == "not_answering: 5 of 5 requests failed: 503"


@pytest.mark.parametrize("jump_s", JUMPS)
def test_waiting_ends_within_its_time_although_the_clock_jumped(
    run: Run, ports: Services, platform: Traffic, jump_s: float
) -> None:
    """For a deployment that does not answer, and then for the last answers of one that is rolled back."""
    run, time = after(run, advance_rollout(probe(run), run, ports)), run.updated_at
    run = after(run, advance_rollout(probe(run, **SILENT), run, ports))
    for status in (Status.ROLLING_BACK, Status.ROLLED_BACK):
        seen = {} if run.status is Status.ROLLING_BACK else SILENT
        time += timedelta(seconds=jump_s)
        for _ in range(3):
            time += UNREACHABLE_ALLOWANCE
            assert run.rollout is not None
            traffic = run.rollout.previous if run.status is Status.ROLLING_BACK else run.rollout.traffic
            outcome = advance_rollout(probe(run, **seen, time=time, traffic=traffic), run, ports)
            run = after(run, outcome) if outcome is not None else run
            if run.status is status:
                break
        assert run.status is status


def test_a_deployment_that_answers_nobody_any_more_gets_ten_seconds(run: Run, ports: Services) -> None:
    run = after(run, advance_rollout(probe(run), run, ports))
    run = after(run, advance_rollout(probe(run, **SILENT), run, ports))
    soon, late = run.updated_at + timedelta(seconds=9), run.updated_at + timedelta(seconds=10)
    assert advance_rollout(probe(run, time=soon, **SILENT), run, ports) is None
    assert facts(advance_rollout(probe(run, time=late, **SILENT), run, ports)) == ["rollback.started"]


@pytest.mark.parametrize(
    ("seen", "note"),
    [
        (FAILING, "requests_fail: 1 of 5 requests failed: 503"),
        (SLOW, "too_slow: answers take 4.00 s, those of the old deployment 1.00 s"),
    ],
    ids=["failing", "slow"],
)
def test_a_deployment_that_is_flaky_or_slow_twice_in_a_row_is_taken_back(
    run: Run, ports: Services, seen: dict[str, Any], note: str
) -> None:
    run = after(run, advance_rollout(probe(run), run, ports))
    outcome = advance_rollout(probe(run, **seen), run, ports)
    assert facts(outcome) == []
    run = after(run, outcome)
    outcome = advance_rollout(probe(run, **seen), run, ports)
    assert facts(outcome) == ["rollback.started"]
    assert outcome is not None
    assert outcome.note == note


@pytest.mark.parametrize("seen", [FAILING, SLOW], ids=["failing", "slow"])
@pytest.mark.parametrize("between", [{}, SILENT], ids=["sound", "silent"])
def test_a_flaky_or_slow_look_that_does_not_repeat_at_once_is_no_reason(
    run: Run, ports: Services, seen: dict[str, Any], between: dict[str, Any]
) -> None:
    """A server that restarts fails some, then all, then some."""
    for looked in (seen, between, seen):
        run = after(run, advance_rollout(probe(run, **looked), run, ports))
        assert run.status is Status.DEPLOYING


@pytest.mark.parametrize("seen", [SILENT, FAILING, SLOW], ids=["silent", "failing", "slow"])
def test_a_deployment_that_answers_again_goes_on(run: Run, ports: Services, seen: dict[str, Any]) -> None:
    run = after(run, advance_rollout(probe(run, **seen), run, ports))
    run = after(run, advance_rollout(probe(run), run, ports))
    assert run.rollout is not None
    assert (run.rollout.unreachable_since, run.rollout.failing_since) == (None, None)
    assert run.rollout.traffic == {OLD: 90, NEW: 10}


def test_a_failure_is_forgotten_after_a_sound_look_even_while_a_shift_is_waited_for(run: Run, ports: Services) -> None:
    run = after(run, advance_rollout(probe(run), run, ports))
    run = after(run, advance_rollout(probe(run, **FAILING), run, ports))
    run = after(run, advance_rollout(probe(run, traffic={OLD: 100}), run, ports))
    assert run.rollout is not None
    assert run.rollout.failing_since is None


def test_a_probe_of_another_deployment_changes_nothing(run: Run, ports: Services, platform: Traffic) -> None:
    assert advance_rollout(probe(run, deployment="d-other"), run, ports) is None
    assert platform.requests == []


@pytest.mark.parametrize(
    ("stage", "data", "by", "reason"),
    [
        ("advance_rollout", {"answers_as_evaluated": 0}, None, "answers_changed: 0 of 5"),
        ("advance_rollout", {"answers_unlike_base": 0}, None, "adapter_has_no_effect: 0 of 5"),
        ("cancel_run", CancelRequested(by="ada"), "ada", "cancelled: cancelled by ada"),
    ],
    ids=["changed answers", "no effect", "a person"],
)
def test_why_a_rollout_was_taken_back_and_by_whom_outlives_the_traffics_return(
    run: Run, ports: Services, stage: str, data: dict[str, int] | CancelRequested, by: str | None, reason: str
) -> None:
    """On the run, in its history and in its events, beside `the traffic is back`."""
    runner = Runner(ports)
    entered = enter(ports, run, Status.DEPLOYING, recipe=run.recipe, rollout=run.rollout)

    def state(stage: str, data: dict[str, Any] | CancelRequested) -> Run:
        now = runner.load(run.id)
        assert now is not None
        event = event_of(now, data, now.updated_at) if isinstance(data, CancelRequested) else probe(now, **data)
        assert runner.handle(BY_NAME[stage], event) is Handled.APPLIED
        moved = runner.load(run.id)
        assert moved is not None
        return moved

    state("advance_rollout", {})
    begun = state(stage, data)
    back = state("advance_rollout", {"traffic": {OLD: 100}})
    late = back.updated_at + timedelta(minutes=1)
    ended = state("advance_rollout", {"traffic": {OLD: 100}, "time": late})
    assert [line.status for line in ended.history[-3:]] == ["rolling_back", "rolling_back", "rolled_back"]
    first, second, last = (line.note for line in ended.history[-3:])
    assert (first == last, second) == (True, "the traffic is back")
    assert first.startswith(reason)
    assert begun.rollback is not None
    assert begun.rollback == back.rollback == ended.rollback
    assert (begun.rollback.by, ended.cancel_requested_by, begun.rollback.at) == (by, by, entered.updated_at)
    facts = [fact for fact in outbox.events_of(ports.store, run.id, dict) if "roll" in fact["type"]]
    assert [fact["type"] for fact in facts] == ["droptune.rollback.started.v1", "droptune.model.rolled_back.v1"]
    assert [fact["data"]["by"] for fact in facts] == [by, by]
    assert [fact["data"]["reason"] for fact in facts] == [begun.rollback.reason.model_dump(mode="json")] * 2


REVOKED: dict[str, Callable[[Run, Services], Any]] = {
    "endpoint_of_another_project": lambda run, services: PlatformPolicy(
        projects={"bank": Project(endpoints=("shop",))}
    ),
    "policy": lambda run, services: PlatformPolicy.model_validate({"limits": {"budget.max_usd": {"at_most": 1}}}),
    "model_changed": lambda run, services: services.blobs.write(paths.run(run.id, "model/adapter/a"), [b"poisoned!"]),
}


@pytest.mark.parametrize("traffic", [{OLD: 100}, {OLD: 50, NEW: 50}, {NEW: 100}], ids=str)
@pytest.mark.parametrize("code", REVOKED)
def test_a_candidate_that_may_not_be_deployed_any_more_gets_no_traffic_and_is_taken_back(
    run: Run, ports: Services, platform: Traffic, code: str, traffic: dict[str, int]
) -> None:
    assert run.rollout is not None
    rollout = run.rollout.model_copy(update={"traffic": traffic, "step": int(NEW in traffic)})
    run = run.evolve(model_sha256=model_sha256(run, ports.blobs), rollout=rollout)
    if isinstance(policy := REVOKED[code](run, ports), PlatformPolicy):
        policies.apply(ports.store, policy, 0, "root", "root", run.updated_at)
    outcome = advance_rollout(probe(run), run, ports)
    back = after(run, outcome)
    assert (back.status, back.rollback_reason.code, platform.requests) == (Status.ROLLING_BACK, code, [])
    assert back.rollout is not None
    assert back.rollout.traffic == {OLD: 100}
    advance_rollout(probe(back, traffic=traffic), back, ports)
    assert platform.requests[-1:] == ([{OLD: 100}] if traffic != {OLD: 100} else [f"delete {NEW}"])


def test_a_bad_candidate_is_taken_back_although_the_policy_cannot_be_read(run: Run, ports: Services) -> None:
    document = {"type": "policy", "id": "policy", "version": 1, "content": "?"}
    ports.store.batch("policy", [Write("create", "policy", document)])
    outcome = advance_rollout(probe(run, answers_as_evaluated=0), run, ports)
    assert after(run, outcome).status is Status.ROLLING_BACK
    with pytest.raises(Transient, match="policy_unreadable"):
        advance_rollout(probe(run), run, ports)
