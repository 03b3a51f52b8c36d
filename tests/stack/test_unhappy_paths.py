"""What goes wrong, and what people change: failed, lost and cancelled jobs, decisions, cancels, repeated events.

One stack plays every scenario at once, each in a project of its own; its one job slot makes their jobs queue. The jobs
train nothing (`stub_image`): they take the time that a scenario needs.
A test is about one scenario, and waits for it only.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest

from local_stack import stack
from shared.pipeline import TOPOLOGY
from tests.stack import stub_image
from tests.stack.local import TERMINAL, Event, LocalStack, ask, notes, statuses, until
from tests.stack.scenarios import Run, assert_nothing_is_left, cancelled, drop, ended, job_runs, jobs_of, seen
from tests.stack.stub_jobs import release

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

Scenario = Callable[[LocalStack], Run]

RETRY_WAIT_S = 0.5  # fifteen times as long where there is no quota
DECIDE_WITHIN_S = 3
TO_EVALUATING = ["received", "validated", "training", "evaluating"]


# The scenarios. What they have done is asserted by the test of the same name.


def short_of_quota(local: LocalStack) -> Run:
    run = seen(local, "short-of-quota", "awaiting_approval")
    local.approve(run["id"], "good enough")
    return ended(local, run, "deployed")


def late_cancel(local: LocalStack) -> Run:
    """The cancel was requested before the job failed, and is handled while the next attempt is waited for."""
    run = until(lambda: [r for r in local.runs("late-cancel") if r["attempt"] == 2], "the first attempt failed")[0]
    cancel_request = {
        **local.events(run["id"])[0],
        "id": f"{run['id']}.run.cancel_requested.3",
        "type": "droptune.run.cancel_requested.v1",
        "attempt": 1,
        "revision": 3,
        "data": {"by": "somebody"},
    }
    local.publish([cancel_request])
    return ended(local, run, "cancelled", "awaiting_approval")


def canceled_by_others(local: LocalStack) -> Run:
    drop(local, "canceled-by-others", "hold training-1")
    run = seen(local, "canceled-by-others", "training")
    local.cancel_job(job_runs(local, run, "training-1"))
    return ended(local, run, "failed")


def canceled_in_evaluation(local: LocalStack) -> Run:
    drop(local, "canceled-in-evaluation", "hold evaluation-1")
    run = seen(local, "canceled-in-evaluation", "evaluating")
    job_runs(local, run, "evaluation-1")
    return cancelled(local, run)


def repeated(local: LocalStack) -> Run:
    """Every event about the run is sent again, twice, in any order, all the time."""
    drop(local, "repeated", "hold evaluation-1")
    rng, stale = random.Random(7), list[Any]()
    while not (found := local.runs("repeated")):
        time.sleep(0.1)
    while (run := local.run(found[0]["id"]))["status"] not in ("awaiting_approval", "failed"):
        events = local.events(run["id"])
        if run["status"] == "evaluating" and not stale:
            stale = [_job_failed(next(e for e in events if e["type"] == "droptune.training.started.v1"))]
        local.publish(_shuffled(rng, [*events, *events, *stale]))
        if stale:
            release(local.root, run["id"], "evaluation-1")
        time.sleep(0.5)
    for _ in range(3):
        local.publish(_shuffled(rng, [*local.events(run["id"]), *stale]))
    _wait_until_quiet(local)
    assert local.run(run["id"]) == run
    after = cancelled(local, run)
    local.publish(_shuffled(rng, [*local.events(run["id"]), *stale]))
    _wait_until_quiet(local)
    assert local.run(run["id"]) == after
    return after


def cancelled_in_training(local: LocalStack) -> Run:
    """Its job has the one slot until the next scenario is over."""
    drop(local, "cancelled-in-training", "hold training-1")
    run = seen(local, "cancelled-in-training", "training")
    job_runs(local, run, "training-1")
    until(lambda: [r for r in local.runs("cancelled-in-queue") if r["status"] in TERMINAL], "the queued one is over")
    return cancelled(local, run)


def cancelled_in_queue(local: LocalStack) -> Run:
    job_runs(local, seen(local, "cancelled-in-training", "training"), "training-1")
    drop(local, "cancelled-in-queue")
    run = seen(local, "cancelled-in-queue", "training")
    until(lambda: local.job_status(f"{run['id']}-training-1") == "Queued", "its job is in the queue")
    return cancelled(local, run)


def vanished(local: LocalStack) -> Run:
    drop(local, "vanished", "hold training-1", approval="automatic")
    job_runs(local, seen(local, "vanished", "training"), "training-1")
    local.inject_fault("vanish")
    return cancelled(local, seen(local, "vanished", "deploying"), "rolled_back")


def lost_events(local: LocalStack) -> Run:
    drop(local, "lost-events", "hold training-1")
    run = seen(local, "lost-events", "training")
    job_runs(local, run, "training-1")
    local.inject_fault("drop_events", count=1000)
    release(local.root, run["id"], "training-1")
    run = seen(local, "lost-events", "evaluating")
    local.inject_fault("drop_events", count=1)
    run = seen(local, "lost-events", "awaiting_approval")
    local.post(f"/api/runs/{run['id']}/deny", comment="not before the audit")
    return ended(local, run, "declined")


def undecided(local: LocalStack) -> Run:
    drop(local, "undecided", approval_hours=DECIDE_WITHIN_S / 3600)
    return ended(local, seen(local, "undecided", "awaiting_approval"), "declined")


FIRST: tuple[Scenario, ...] = (short_of_quota, late_cancel)
LATER: tuple[Scenario, ...] = (
    canceled_by_others,
    canceled_in_evaluation,
    repeated,
    cancelled_in_training,
    cancelled_in_queue,
    vanished,
    lost_events,
    undecided,
)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    settings = {"RETRY_WAIT_S": f"{RETRY_WAIT_S}", "JOB_POLL_S": "3"}
    root = tmp_path_factory.mktemp("unhappy") / "stack"
    stub_image.install(root)
    running = LocalStack(root, settings)
    yield running
    running.down()


@pytest.fixture(scope="module")
def futures_of(local: LocalStack) -> Iterator[dict[Scenario, Future[Run]]]:
    """All scenarios started. A fault strikes the next job, so those that need one are dropped before the others."""
    local.inject_fault("quota", count=len(FIRST))
    for scenario in FIRST:
        drop(local, scenario.__name__.replace("_", "-"))
    with ThreadPoolExecutor(len(FIRST) + len(LATER)) as pool:
        futures = {scenario: pool.submit(scenario, local) for scenario in FIRST}
        until(lambda: sum(job["status"] == "Failed" for job in local.jobs()) == len(FIRST), "the faults struck")
        futures |= {scenario: pool.submit(scenario, local) for scenario in LATER}
        yield futures


def _job_failed(started: Event) -> Event:
    """What a late event about the training job's failure would look like."""
    problem = {"code": "late", "message": "late", "param": None}
    return {
        **started,
        "id": started["id"].replace("training.started", "job.failed"),
        "type": "droptune.job.failed.v1",
        "data": {"job": started["data"]["job"], "failure_class": "code", "problem": problem},
    }


def _shuffled(rng: random.Random, events: list[Event]) -> list[Event]:
    return rng.sample(events, len(events))


def _wait_until_quiet(local: LocalStack) -> None:
    """Until every function has taken what was sent to it."""
    with local.bus() as bus:
        subscriptions = [f"pipeline/{subscription.name}" for subscription in TOPOLOGY.topics["pipeline"]]
        until(lambda: not any(map(bus.depth, subscriptions)), "every subscription is empty", every_s=0.05)


def test_a_job_without_quota_is_submitted_again_and_an_approved_model_goes_live(
    local: LocalStack, futures_of: dict[Scenario, Future[Run]]
) -> None:
    run = futures_of[short_of_quota].result()
    assert statuses(run)[:5] == [*TO_EVALUATING[:3], "training", "training"]
    assert statuses(run)[5:9] == ["evaluating", "awaiting_approval", "awaiting_approval", "approved"]
    assert statuses(run)[-1] == "deployed"
    assert jobs_of(local, run) == {"training-1": "Failed", "training-2": "Completed", "evaluation-1": "Completed"}
    assert notes(run)[0].startswith("quota: OutOfQuota, again in 7.5 s: ")
    assert notes(run)[1:3] == ["approved by ada: good enough; 1 more must approve", "approved by grace: good enough"]
    assert run["error"] is None
    assert run["decision"]["granted"] is True
    assert run["decision"]["comment"] == "good enough"
    assert local.traffic("short-of-quota") == {run["rollout"]["deployment"]: 100}
    assert ask(local.root, run["rollout"]["scoring_uri"], "What part is SC-V4-M05-040-PL?")
    until(lambda: local.claims_of(run["id"]) == ["dataset"], "only its data is claimed")


def test_a_cancel_requested_before_a_retry_is_not_forgotten(
    local: LocalStack, futures_of: dict[Scenario, Future[Run]]
) -> None:
    run = futures_of[late_cancel].result()
    assert run["status"] == "cancelled"
    assert run["cancel_requested_by"] == "somebody"
    assert jobs_of(local, run) == {"training-1": "Failed"}
    assert_nothing_is_left(local, run)


def test_a_job_that_somebody_canceled_in_the_studio_ends_its_run_and_is_not_submitted_again(
    local: LocalStack, futures_of: dict[Scenario, Future[Run]]
) -> None:
    run = futures_of[canceled_by_others].result()
    assert statuses(run) == [*TO_EVALUATING[:3], "failed"]
    assert jobs_of(local, run) == {"training-1": "Canceled"}
    assert notes(run) == ["platform: job_cancelled"]
    message = "cancelled at the platform, not by Droptune; its run history was last changed by local"
    assert (run["error"]["problem"]["code"], run["error"]["problem"]["message"]) == ("job_cancelled", message)
    assert_nothing_is_left(local, run)


def test_a_cancel_stops_an_evaluation(local: LocalStack, futures_of: dict[Scenario, Future[Run]]) -> None:
    run = futures_of[canceled_in_evaluation].result()
    assert statuses(run) == [*TO_EVALUATING, "cancelling", "cancelled"]
    assert jobs_of(local, run) == {"training-1": "Completed", "evaluation-1": "Canceled"}
    assert notes(run) == ["cancelled by local"] * 2
    assert run["cancel_requested_by"] == "local"
    assert_nothing_is_left(local, run)


def test_repeated_and_late_events_in_any_order_change_nothing_and_a_cancel_ends_the_wait_for_a_decision(
    local: LocalStack, futures_of: dict[Scenario, Future[Run]]
) -> None:
    run = futures_of[repeated].result()
    assert statuses(run) == [*TO_EVALUATING, "awaiting_approval", "cancelled"]
    assert run["revision"] == 6
    assert jobs_of(local, run) == {"training-1": "Completed", "evaluation-1": "Completed"}
    assert_nothing_is_left(local, run)


def test_a_cancel_stops_a_training_job(local: LocalStack, futures_of: dict[Scenario, Future[Run]]) -> None:
    run = futures_of[cancelled_in_training].result()
    assert statuses(run) == [*TO_EVALUATING[:3], "cancelling", "cancelled"]
    assert jobs_of(local, run) == {"training-1": "Canceled"}
    assert_nothing_is_left(local, run)


def test_a_cancel_takes_a_job_out_of_the_queue(local: LocalStack, futures_of: dict[Scenario, Future[Run]]) -> None:
    run = futures_of[cancelled_in_queue].result()
    assert statuses(run) == [*TO_EVALUATING[:3], "cancelling", "cancelled"]
    job = next(job for job in local.jobs() if job["name"] == f"{run['id']}-training-1")
    assert [line["status"] for line in job["history"]] == ["NotStarted", "Queued", "CancelRequested", "Canceled"]
    assert_nothing_is_left(local, run)


def test_a_job_that_vanished_is_submitted_again_and_a_cancel_takes_the_rollout_back(
    local: LocalStack, futures_of: dict[Scenario, Future[Run]]
) -> None:
    run = futures_of[vanished].result()
    assert statuses(run)[2:8] == ["training", "training", "training", "evaluating", "approved", "deploying"]
    assert statuses(run)[-2:] == ["rolling_back", "rolled_back"]
    assert jobs_of(local, run) == {"training-2": "Completed", "evaluation-1": "Completed"}
    assert notes(run)[0] == "platform: job_vanished, again in 0.5 s: the platform has no such job"
    assert notes(run)[-1] == "cancelled: cancelled by local"
    assert run["cancel_requested_by"] == "local"
    assert_nothing_is_left(local, run)


def test_a_job_whose_events_are_lost_is_found_by_a_poll_and_a_denied_model_is_declined(
    local: LocalStack, futures_of: dict[Scenario, Future[Run]]
) -> None:
    run = futures_of[lost_events].result()
    assert statuses(run) == [*TO_EVALUATING, "awaiting_approval", "declined"]
    assert jobs_of(local, run) == {"training-1": "Completed", "evaluation-1": "Completed"}
    assert f"id={run['id']}-training-1.poll." in stack.Stack.load(local.root).log("host").read_text()
    assert run["decision"]["granted"] is False
    assert run["decision"]["comment"] == "not before the audit"
    assert notes(run) == ["declined by local: not before the audit"]
    until(lambda: local.claims_of(run["id"]) == ["dataset"], "only its data is claimed")


def test_a_model_that_nobody_decides_on_in_time_is_declined(
    local: LocalStack, futures_of: dict[Scenario, Future[Run]]
) -> None:
    run = futures_of[undecided].result()
    assert statuses(run) == [*TO_EVALUATING, "awaiting_approval", "declined"]
    [waited, ended] = [datetime.fromisoformat(line["at"]) for line in run["history"][-2:]]
    assert ended - waited >= timedelta(seconds=DECIDE_WITHIN_S)
    deadline = (waited + timedelta(seconds=DECIDE_WITHIN_S)).isoformat(timespec="seconds")
    assert notes(run) == [f"approval expired: no decision by {deadline}"]
    assert (run["decision"]["granted"], run["decision"]["by"]) == (False, "deadline")
    assert run["rollout"] is None
    assert [record for record in local.get("/api/endpoints")["data"] if record["endpoint"] == "undecided"] == []
    until(lambda: local.claims_of(run["id"]) == ["dataset"], "only its data is claimed")


def test_after_all_that_every_run_is_as_it_ended_and_no_message_was_given_up(
    local: LocalStack, futures_of: dict[Scenario, Future[Run]]
) -> None:
    for future in futures_of.values():
        run = future.result()
        assert local.run(run["id"]) == run
        assert local.live_jobs(run["id"]) == []
    entities = [*TOPOLOGY.queues, *(f"pipeline/{subscription.name}" for subscription in TOPOLOGY.topics["pipeline"])]
    with local.bus() as bus:
        assert {entity: n for entity in entities if (n := bus.depth(f"{entity}/$deadletterqueue"))} == {}
