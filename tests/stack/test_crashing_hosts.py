"""The host is killed (`kill -9`) at every place where the runner writes or publishes, once each: see crashing_host.

Six runs at once take every way through the pipeline; each ends as if nobody had died.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from local_stack.stack import tail
from shared.domain.events import ApprovalDenied, ApprovalGranted, CancelRequested, Event, EventData
from shared.domain.run import Run
from shared.step_support.candidate import candidate_sha256
from shared.step_support.outcome import event_of
from tests.receiver import Receiver
from tests.stack import ledger
from tests.stack.local import LocalStack, rows, until
from tests.stack.scenarios import FAILS_GATE, QUICK

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(1800)]

SETTINGS = {"INLINE_VALIDATION_MAX_BYTES": "1000", "JOB_POLL_S": "5", "RETRY_WAIT_S": "0.2"}
# Project -> in which status a person requests what, and how it ends.
REQUESTS: dict[str, tuple[str, type[EventData]]] = {
    "granted": ("awaiting_approval", ApprovalGranted),
    "denied": ("awaiting_approval", ApprovalDenied),
    "stopped": ("training", CancelRequested),
    "taken-back": ("deploying", CancelRequested),
}
ENDS = {
    "without-quota": "declined",
    "whole-way": "deployed",
    "granted": "deployed",
    "denied": "declined",
    "stopped": "cancelled",
    "taken-back": "rolled_back",
}
MOVERS = {
    "validate_dataset",
    "conclude_validation",
    "submit_training",
    "submit_evaluation",
    "apply_gate",
    "record_decision",
    "deploy_model",
    "advance_rollout",
    "fail_run",
    "cancel_run",
    "notify",
}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[LocalStack]:
    running = LocalStack(tmp_path_factory.mktemp("crashing") / "stack", {**SETTINGS, **ledger.SETTINGS})
    ledger.subscribe(running, receiver)
    yield running
    running.down()


@pytest.fixture(scope="module")
def places(local: LocalStack) -> list[str]:
    """Where the host died while six runs went their ways."""
    local.stop_part("host")
    file = local.root / "places.txt"
    local.start_part("host", module=("tests.stack.crashing_host", str(file)))
    local.inject_fault("quota")
    for project in ENDS:
        approval = "required" if project in ("granted", "denied") else "automatic"
        recipe = FAILS_GATE if project == "without-quota" else QUICK
        deployment = {"approval": approval, "rollout": [50, 100]}
        local.drop_project(project, rows("train.jsonl")[:64], rows("eval.jsonl")[:16], **recipe, deployment=deployment)
        if project == "without-quota":
            until(lambda: any(job["status"] == "Failed" for job in local.jobs()), "the fault struck", within_s=120)

    requested: set[str] = set()

    def check() -> bool:
        for run in ledger.all_runs(local):
            cancel_request = REQUESTS.get(run.project)
            if cancel_request and run.status == cancel_request[0] and run.project not in requested:
                kind = cancel_request[1]
                requests = approvals_of(run) if kind is ApprovalGranted else [request_of(run, kind)]
                local.publish([event.to_cloudevent() for event in requests])
                requested.add(run.project)
        return len(ledger.all_runs(local)) == len(ENDS) and ledger.at_rest(local)

    try:
        until(check, "all is at rest", within_s=1500, every_s=0.5)
    except AssertionError:
        print([(run.project, run.status) for run in ledger.all_runs(local)], ledger.depths(local))
        print(tail(local.root / "logs" / "host.log", 60))
        raise
    return file.read_text().splitlines()


def request_of(run: Run, kind: type[EventData]) -> Event[EventData]:
    return event_of(
        run,
        kind.model_validate({"by": "somebody"} | ({"by_as": ("approver",)} if kind is ApprovalDenied else {})),
        datetime.now(UTC),
    )


def approvals_of(run: Run) -> list[Event[EventData]]:
    candidate = candidate_sha256(run)
    both = (ApprovalGranted(by=name, by_id=name, by_as=("approver",), candidate=candidate) for name in ("ada", "grace"))
    return [event_of(run, granted, datetime.now(UTC), key=granted.by) for granted in both]


def test_every_run_ends_as_if_nobody_had_died_and_nothing_is_lost_or_doubled(
    local: LocalStack, receiver: Receiver, places: list[str]
) -> None:
    assert {run.project: run.status.value for run in ledger.all_runs(local)} == ENDS
    assert ledger.problems(local, receiver) == []


def test_the_host_died_around_the_writes_of_every_function(places: list[str]) -> None:
    print(f"{len(places)} deaths")
    for (moment, function), count in sorted(Counter(tuple(place.split()[:2]) for place in places).items()):
        print(f"  {count:>3} {moment} a call in {function}")
    assert len(set(places)) == len(places)
    # A death after a write is one before its publishing. What is left unpublished, the look of `reconcile` may publish
    # before the event comes again: so a death at the publishing itself is met in some functions only.
    for moment in ("before", "after"):
        reached = {place.split()[1] for place in places if place.startswith(moment) and " store.batch" in place}
        assert reached >= MOVERS | {"receive_dataset"}, moment
        assert any(place.startswith(moment) and " bus.send" in place for place in places), moment
