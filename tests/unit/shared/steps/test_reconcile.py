"""What the timer finds: state of the runs, blobs and claims x time -> what is sent, released or left alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import orjson
import pytest

from shared.domain import paths
from shared.domain.commands import InspectJob, StartRun
from shared.domain.errors import InvalidInput, StoreConflict, Transient
from shared.domain.events import ApprovalExpired, ApprovalReminder, EvaluationDue, EventData, RunOverdue
from shared.domain.jobs import EndpointView, JobKind
from shared.domain.policy import PlatformPolicy, Project
from shared.domain.run import NON_TERMINAL, PASSED_OVER, JobRef, Run, Status
from shared.ports import BlobInfo, RunStore, Services, Stored, Write
from shared.records import claims, policies, runs, ticks
from shared.runner import Runner
from shared.step_support.loops import LoopResult
from shared.step_support.outcome import Draft
from shared.steps.inspect_job import IN_FLIGHT
from shared.steps.reconcile import (
    SCAN_EVERY,
    inspect_silent_jobs,
    next_evaluation,
    overdue,
    release_claims,
    reminder,
    start_missed_runs,
)
from tests.clock import ManualClock
from tests.unit.shared.steps.platform import Platform
from tests.unit.shared.support import VERDICT, drop, take

PATH = "datasets/shop/train.jsonl"
POLL_S = 60


def keep(run: Run, services: Services) -> Run:
    """Put the run in the place of what the store has of it."""
    stored = runs.read(services.store, run.id)
    assert stored is not None
    services.store.batch(run.id, [runs.replacement(run, stored)])
    return run


def commands_at(services: Services, queue: str) -> list[dict[str, object]]:
    return [orjson.loads(received.message.body)["data"] for received in take(services, queue)]


@pytest.fixture
def training(prepared: Run, services: Services) -> Run:
    job = JobRef(name="job-1", kind=JobKind.TRAINING, attempt=1, submitted_at=prepared.created_at)
    return keep(prepared.evolve(status=Status.TRAINING, jobs=(job,)), services)


@pytest.mark.parametrize(
    ("silent_s", "last_s", "period"),
    [(59, None, None), (60, None, 1), (119, None, 1), (150, 59, 2), (150, 61, 2), (150, 121, None), (59, 30, None)],
    ids=[
        "not silent yet",
        "one period",
        "nearly two",
        "last look before the first period",
        "last look in the period before",
        "last look in this period",
        "not silent yet, looked before",
    ],
)
def test_a_silent_job_is_looked_at_once_in_each_period(
    training: Run, services: Services, clock: ManualClock, silent_s: int, last_s: int | None, period: int | None
) -> None:
    clock.advance(silent_s)
    last = None if last_s is None else training.updated_at + timedelta(seconds=last_s)
    assert inspect_silent_jobs(services, last).count == (period is not None)
    expected = [] if period is None else [InspectJob(job="job-1", poll=f"{training.revision}.{period}").model_dump()]
    assert commands_at(services, "job-events") == expected


def test_a_tick_between_two_scans_asks_for_the_state_of_the_scan_and_lists_nothing(
    services: Services, clock: ManualClock
) -> None:
    """10,000 datasets: five pages in five ticks, and then nothing until ten minutes have passed."""
    zone = Zone()
    old = clock.now() - timedelta(days=1)
    zone.blobs = {f"datasets/shop/{number:05}/notes.md": old for number in range(10_000)}
    lists, reads = Counted(zone), Counted(services.store)
    ports = replace(services, blobs=lists, store=reads)
    pages = []
    for _ in range(30):
        before = lists.calls["list_page"]
        reads.calls.clear()
        start_missed_runs(ports)
        pages.append(lists.calls["list_page"] - before)
        if not pages[-1]:
            assert reads.calls == {"get": 1}
        clock.advance(60)
    assert pages == [*[1] * 6, *[0] * 9, *[1] * 6, *[0] * 9]
    zone.blobs["datasets/shop/new/train.jsonl"] = clock.now() - timedelta(minutes=3)
    for _ in range(6):
        found = missed(ports, 2000)
    assert found == ["datasets/shop/new/train.jsonl"]


class Counted:
    """A port whose calls are counted by their names."""

    def __init__(self, port: object) -> None:
        self._port, self.calls = port, Counter[str]()

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            self.calls[name] += 1
            return getattr(self._port, name)(*arguments, **named)

        return call


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("status", sorted(Status))
def test_only_jobs_of_runs_that_wait_for_one_are_looked_at(
    training: Run, services: Services, clock: ManualClock, status: Status
) -> None:
    keep(training.evolve(status=status), services)
    clock.advance(POLL_S)
    assert inspect_silent_jobs(services, None).count == (status in IN_FLIGHT)


def test_a_run_without_a_job_has_none_to_look_at(training: Run, services: Services, clock: ManualClock) -> None:
    keep(training.evolve(jobs=()), services)
    clock.advance(POLL_S)
    assert inspect_silent_jobs(services, None).count == 0


class DropZone:
    """Holds one blob."""

    def __init__(self, blob: BlobInfo) -> None:
        self.blob = blob

    def list_page(self, prefix: str, limit: int, cursor: str | None = None) -> tuple[Sequence[BlobInfo], str | None]:
        return [self.blob] if self.blob.path.startswith(prefix) else [], None


@pytest.mark.parametrize(
    ("path", "age_min", "last_min", "missed"),
    [
        (PATH, 1, None, False),
        (PATH, 3, None, True),
        (PATH, 3, 5, True),
        (PATH, 14, 5, True),
        (PATH, 16, 5, False),
        (PATH, 9999, None, True),
        (PATH, 60, -30, True),  # the clock was set back
        ("datasets/shop/recipe.yaml", 3, None, False),
        ("datasets/shop/eval.jsonl", 3, None, False),
        ("datasets/train.jsonl", 3, None, True),  # no folder names a project: its run is rejected
        ("datasets/README.md", 3, None, False),
        ("curated/shop/train.jsonl", 3, None, False),
    ],
    ids=lambda value: str(value),
)
def test_a_blob_whose_event_was_lost_gets_its_run(
    services: Services, clock: ManualClock, path: str, age_min: int, last_min: int | None, missed: bool
) -> None:
    now = clock.now()
    blob = BlobInfo(path, "etag-1", 1, now - timedelta(minutes=age_min))
    if last_min is not None:
        ticks.record_scan(services.store, ticks.DropZoneScan(now - SCAN_EVERY, since=now - timedelta(minutes=last_min)))
    ports = replace(services, blobs=DropZone(blob))  # type: ignore[arg-type]
    assert start_missed_runs(ports).count == missed
    expected = [StartRun(path=path, etag="etag-1").model_dump()] if missed else []
    assert commands_at(services, "storage-events") == expected


def missed(services: Services, page_size: int) -> list[str]:
    """Paths of the blobs that one tick asks a run for."""
    start_missed_runs(services, page_size)
    return [str(command["path"]) for command in commands_at(services, "storage-events")]


class Zone:
    """A drop zone in memory."""

    def __init__(self) -> None:
        self.blobs: dict[str, datetime] = {}

    def list_page(self, prefix: str, limit: int, cursor: str | None = None) -> tuple[Sequence[BlobInfo], str | None]:
        paths = sorted(path for path in self.blobs if path > (cursor or ""))[:limit]
        return [BlobInfo(path, "e", 1, self.blobs[path]) for path in paths], paths[-1] if len(paths) == limit else None


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("seed", range(8))
def test_every_blob_is_found_whenever_it_comes_and_old_ones_are_not_asked_for_again(
    services: Services, clock: ManualClock, seed: int
) -> None:
    rng, zone = random.Random(seed), Zone()
    ports, page_size = replace(services, blobs=zone), rng.choice((1, 2, 5, 50))  # type: ignore[arg-type]
    requested: Counter[str] = Counter()
    for _ in range(120):
        if rng.random() < 0.2:
            zone.blobs[f"datasets/p{rng.randrange(3)}/{rng.random()}.jsonl"] = clock.now()
        clock.advance(rng.choice((1, 60, 600)))
        requested.update(missed(ports, page_size))
    for _ in range(3 * (len(zone.blobs) // page_size + 1)):
        clock.advance(700)
        requested.update(missed(ports, page_size))
    assert requested.keys() == zone.blobs.keys()
    for _ in range(2 * (len(zone.blobs) // page_size + 1)):
        clock.advance(60)
        assert missed(ports, page_size) == []


def test_a_blob_whose_run_may_have_expired_is_not_started_again(services: Services, clock: ManualClock) -> None:
    zone = Zone()
    zone.blobs = {f"datasets/shop/{days}.jsonl": clock.now() - timedelta(days=days) for days in (29, 31)}
    config = replace(services.config, run_retention_days=30)
    zoned = replace(services, blobs=zone, config=config)  # type: ignore[arg-type]
    assert missed(zoned, 10) == ["datasets/shop/29.jsonl"]


def test_how_old_it_is_depends_on_the_days_of_its_project(services: Services, clock: ManualClock) -> None:
    zone, projects = Zone(), {"claims": Project(retention_days=5), "shop": Project(retention_days=0)}
    ages = {"claims": (4, 6), "shop": (4000,), "other": (29, 31)}
    zone.blobs = {
        f"datasets/{name}/{n}.jsonl": clock.now() - timedelta(days=n) for name, days in ages.items() for n in days
    }
    policies.apply(services.store, PlatformPolicy(projects=projects), 0, "ada", "ada", clock.now())
    zoned = replace(services, blobs=zone, config=replace(services.config, run_retention_days=30))  # type: ignore[arg-type]
    assert sorted(missed(zoned, 10)) == [
        f"datasets/{name}/{n}.jsonl" for name, n in (("claims", 4), ("other", 29), ("shop", 4000))
    ]


def test_a_tick_reads_one_page_of_the_zone(services: Services, clock: ManualClock) -> None:
    for n in range(9):
        services.blobs.write(f"datasets/shop/train-{n}.jsonl", [b"x"])
    clock.advance((datetime.now(UTC) - clock.now()).total_seconds() + 3600)
    assert [len(missed(services, 4)) for _ in range(4)] == [4, 4, 1, 0]


class Unreachable:
    """A store in which no run of this blob can be looked for."""

    def __init__(self, store: RunStore, run_id: str) -> None:
        self.store, self.run_id = store, run_id

    def get(self, partition: str, id: str) -> Stored | None:
        if partition == self.run_id:
            raise Transient("unanswered", "no answer")
        return self.store.get(partition, id)

    def batch(self, partition: str, writes: Sequence[Write]) -> None:
        self.store.batch(partition, writes)


def test_a_blob_that_could_not_be_looked_at_is_looked_at_by_the_next_scan(
    services: Services, clock: ManualClock
) -> None:
    blobs = [services.blobs.write(f"datasets/shop/train-{n}.jsonl", [b"x"]) for n in range(3)]
    clock.advance((datetime.now(UTC) - clock.now()).total_seconds() + 3600)
    spoiled = Unreachable(services.store, paths.run_id_of_blob(blobs[0].path, blobs[0].etag))
    assert missed(replace(services, store=spoiled), 1) == []  # type: ignore[arg-type]
    clock.advance(3600)
    assert [path for _ in range(3) for path in missed(services, 1)] == [blobs[1].path, blobs[2].path]
    assert blobs[0].path in missed(services, 1)


def test_a_cursor_that_the_store_does_not_take_begins_the_scan_again(services: Services, clock: ManualClock) -> None:
    path = services.blobs.write("datasets/shop/train.jsonl", [b"x"]).path
    clock.advance((datetime.now(UTC) - clock.now()).total_seconds() + 3600)
    ticks.record_scan(services.store, ticks.DropZoneScan(clock.now(), cursor="spoiled"))

    class Strict:
        def list_page(
            self, prefix: str, limit: int, cursor: str | None = None
        ) -> tuple[Sequence[BlobInfo], str | None]:
            if cursor:
                raise InvalidInput("bad_cursor", "not one this store gave out", "cursor")
            return services.blobs.list_page(prefix, limit)

    assert missed(replace(services, blobs=Strict()), 10) == [path]  # type: ignore[arg-type]


def test_a_blob_with_a_run_is_not_missed(services: Services, runner: Runner, clock: ManualClock) -> None:
    run = drop(services, runner)
    assert run is not None
    blob = BlobInfo(run.dataset.path, run.dataset.etag, 1, clock.now() - timedelta(minutes=3))
    assert start_missed_runs(replace(services, blobs=DropZone(blob))).count == 0  # type: ignore[arg-type]
    clock.advance(SCAN_EVERY.total_seconds())
    other = replace(blob, etag="another version")
    assert start_missed_runs(replace(services, blobs=DropZone(other))).count == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("status", sorted(NON_TERMINAL))
def test_a_status_that_lasts_too_long_is_said_once_its_deadline_is_reached(prepared: Run, status: Status) -> None:
    deadline = prepared.created_at + timedelta(hours=1)
    run = prepared.evolve(status=status, deadline_at=deadline)
    late: EventData = RunOverdue(status=status, deadline_at=deadline)
    if status is Status.AWAITING_APPROVAL:
        late = ApprovalExpired(deadline_at=deadline)
    assert overdue(run, deadline - timedelta(seconds=1)) is None
    draft = overdue(run, deadline)
    assert draft is not None
    assert draft.data == late


@pytest.mark.parametrize(
    ("pause_h", "allowed_min"),
    [((-1, 0.5), 10), ((-1, 0), 10), ((-2, -1), 0), ((0, 0.5), 0), ((-3, 2), 10)],
    ids=["over the deadline", "until the deadline", "before it", "after it", "long"],
)
def test_a_deadline_that_passed_in_a_pause_is_reached_some_minutes_after_it(
    prepared: Run, pause_h: tuple[float, float], allowed_min: int
) -> None:
    deadline = prepared.created_at + timedelta(days=1)
    run = prepared.evolve(status=Status.RECEIVED, deadline_at=deadline)
    start, end = (deadline + timedelta(hours=hours) for hours in pause_h)
    reached = end + timedelta(minutes=allowed_min) if allowed_min else deadline
    other = (deadline - timedelta(days=9), deadline - timedelta(days=8))
    assert overdue(run, reached - timedelta(seconds=1), [other, (start, end)]) is None
    assert overdue(run, reached, [other, (start, end)]) is not None


def test_a_deadline_that_passed_in_a_jump_that_was_undone_in_part_is_reached_some_minutes_after_that(
    prepared: Run,
) -> None:
    deadline = prepared.created_at + timedelta(hours=1)
    run = prepared.evolve(status=Status.RECEIVED, deadline_at=deadline)
    ahead, right = deadline + timedelta(hours=2), deadline + timedelta(minutes=5)
    pauses = [(prepared.created_at, ahead), (ahead, right)]
    assert overdue(run, right + timedelta(minutes=9), pauses) is None
    assert overdue(run, right + timedelta(minutes=10), pauses) is not None


def test_a_jump_forward_that_was_undone_is_no_pause(prepared: Run) -> None:
    deadline = prepared.created_at + timedelta(hours=1)
    run = prepared.evolve(status=Status.RECEIVED, deadline_at=deadline)
    assert overdue(run, deadline, [(prepared.created_at, deadline + timedelta(days=1))]) is not None


@pytest.mark.parametrize("status", [Status.RECEIVED, Status.AWAITING_APPROVAL])
def test_a_status_that_began_in_the_future_lasts_from_when_the_clock_was_set_back(
    prepared: Run, status: Status
) -> None:
    ahead, right = prepared.created_at + timedelta(days=200), prepared.created_at
    run = prepared.evolve(status=status, updated_at=ahead, deadline_at=ahead + timedelta(hours=2))
    pauses = [(right - timedelta(hours=9), right - timedelta(hours=8)), (ahead + timedelta(minutes=1), right)]
    assert overdue(run, right + timedelta(minutes=119), pauses) is None
    draft = overdue(run, right + timedelta(hours=2), pauses)
    assert draft is not None
    assert draft.data.model_dump()["deadline_at"] == run.deadline_at
    assert overdue(run, right + timedelta(hours=2)) is None  # nothing says when the clock was set back


def test_who_decides_is_reminded_once_when_a_quarter_of_the_time_is_left(prepared: Run) -> None:
    due, deadline = prepared.created_at + timedelta(hours=126), prepared.created_at + timedelta(hours=168)
    run = prepared.evolve(status=Status.AWAITING_APPROVAL, deadline_at=deadline)
    assert run.resolved.requested.deployment.approval_hours == 168
    minute = timedelta(minutes=1)
    ticks = [prepared.created_at + minute * number for number in range(1, 169 * 60)]
    found = [now for last, now in pairwise(ticks) if reminder(run, last, now)]
    assert found == [due]
    draft = reminder(run, due - minute, due)
    assert draft is not None
    assert draft.data == ApprovalReminder(deadline_at=deadline)
    late = reminder(run, due - minute, deadline - minute)  # no tick came meanwhile
    assert (late and late.data) == draft.data
    assert reminder(run, due - minute, deadline) is None, "it has expired"
    assert reminder(run, None, due) is None
    assert reminder(run.evolve(status=Status.APPROVED), due - minute, due) is None


def test_a_finished_run_is_never_overdue(prepared: Run) -> None:
    run = prepared.evolve(status=Status.FAILED, deadline_at=None)
    assert overdue(run, prepared.created_at + timedelta(days=999)) is None


def endpoint(*deployments: str) -> EndpointView:
    return EndpointView(name="shop", scoring_uri="http://x/", traffic={"old": 100}, deployments=deployments)


class Deployments(Platform):
    """The endpoint's deployments can be requested one by one; `slow` deletions do not end, `broken` ones fail."""

    def __init__(self, view: EndpointView | None = None, *, slow: bool = False, broken: bool = False) -> None:
        super().__init__(view)
        self.slow, self.broken = slow, broken

    def get_deployment(self, endpoint: str, name: str) -> str | None:
        return name if self.view and name in self.view.deployments else None

    def begin_delete_deployment(self, endpoint: str, name: str) -> None:
        if self.broken:
            raise Transient("azure_ml_down", "503")
        super().begin_delete_deployment(endpoint, name)
        if not self.slow and self.view is not None:
            left = tuple(each for each in self.view.deployments if each != name)
            self.view = self.view.model_copy(update={"deployments": left})


def give_back(services: Services) -> LoopResult[bool]:
    return release_claims(services, Runner(services).note_timer)


def released(services: Services, platform: Deployments) -> tuple[int, list[str]]:
    """How many claims were released, and the kinds of those that are not settled."""
    count = give_back(replace(services, models=platform, launcher=platform)).count  # type: ignore[arg-type]
    return count, sorted(claim.kind for claim in claims.unsettled(services.store))


def claiming(run: Run, status: Status, services: Services) -> Run:
    """The run in this status with the claim on its endpoint, beside the one on its data."""
    claims.take(services.store, claims.endpoint_claim("shop"), run.id, run.created_at)
    return keep(run.evolve(status=status, verdict=VERDICT), services)


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("status", sorted(Status))
def test_the_claims_of_a_finished_run_are_given_back_and_those_of_others_stay(
    prepared: Run, services: Services, status: Status
) -> None:
    claiming(prepared, status, services)
    left = ["dataset", "endpoint"] if status in NON_TERMINAL else []
    assert released(services, Deployments()) == (2 - len(left), left)


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED, Status.DEPLOYED])
def test_what_a_run_left_at_the_endpoint_is_deleted_unless_it_is_in_production(
    prepared: Run, services: Services, status: Status
) -> None:
    own = paths.deployment_name(claiming(prepared, status, services).id)
    platform = Deployments(endpoint("old", own))
    assert released(services, platform) == (2, [])
    # Once for each claim at most, as often as each finds it there.
    assert set(platform.deleted) == (set() if status is Status.DEPLOYED else {own})


@pytest.mark.parametrize("trouble", ["slow", "broken"])
def test_the_endpoint_stays_claimed_while_the_deployment_is_there(
    prepared: Run, services: Services, trouble: str
) -> None:
    run = claiming(prepared, Status.FAILED, services)
    platform = Deployments(endpoint("old", paths.deployment_name(run.id)), **{trouble: True})
    assert released(services, platform)[1] == {"slow": ["endpoint"], "broken": ["dataset", "endpoint"]}[trouble]
    platform.slow = platform.broken = False
    assert released(services, platform)[1] == []


@pytest.mark.parametrize(
    ("name", "age_min", "left"),
    [
        ("turn:shop", 14, ["turn"]),
        ("turn:shop", 16, []),
        ("endpoint:shop", 134, ["endpoint"]),
        ("endpoint:shop", 136, []),
    ],
)
def test_a_claim_of_no_run_is_given_back_after_a_quarter_of_an_hour_and_that_of_a_rollback_once_it_has_had_its_time(
    services: Services, clock: ManualClock, name: str, age_min: int, left: list[str]
) -> None:
    claims.take(services.store, name, "run-unknown", clock.now())
    clock.advance(60 * age_min)
    assert released(services, Deployments()) == (1 - len(left), left)


def test_a_turn_to_read_is_given_back_whatever_became_of_the_run_that_was_read_for(
    prepared: Run, services: Services, clock: ManualClock
) -> None:
    run = keep(prepared.evolve(status=Status.RECEIVED), services)
    claims.take(services.store, claims.reading_claim("shop"), run.id, clock.now())
    for minutes, left in ((14, ["dataset", "reading"]), (2, ["dataset"])):
        clock.advance(60 * minutes)
        assert released(services, Deployments())[1] == left


def test_the_run_that_has_waited_longest_is_evaluated_once_the_turn_is_free(
    prepared: Run, services: Services, clock: ManualClock
) -> None:
    first = keep(prepared.evolve(status=Status.TRAINED), services)
    assert first.recipe is not None
    later = first.evolve(id="run-later", updated_at=first.updated_at + timedelta(seconds=1))
    services.store.batch(later.id, [runs.creation(later)])
    waiting = [first, later]
    assert runs.waiting(services.store) == {first.recipe.endpoint: waiting}
    name, draft = claims.turn_claim(first.recipe.endpoint), Draft(EvaluationDue(endpoint=first.recipe.endpoint))
    for owner, due in (("run-other", None), (later.id, (later, draft)), (first.id, (first, draft))):
        claims.take(services.store, name, owner, clock.now())
        assert next_evaluation(waiting, services) == due
        claims.release(services.store, name, owner)
    assert next_evaluation(waiting, services) == (first, draft)
    assert claims.take(services.store, name, "run-other", clock.now()) == first.id  # asking it gives it the turn
    clock.advance(60)
    Runner(services).note_timer(first.id, PASSED_OVER, "could not begin")
    assert [run.id for run in runs.waiting(services.store)[first.recipe.endpoint]] == [later.id, first.id]


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("status", sorted(set(Status) - NON_TERMINAL))
def test_the_turn_of_a_finished_run_is_given_back(
    prepared: Run, services: Services, clock: ManualClock, status: Status
) -> None:
    run = keep(prepared.evolve(status=status), services)
    assert run.recipe is not None
    name = claims.turn_claim(run.recipe.endpoint)
    claims.take(services.store, name, run.id, clock.now())
    assert give_back(services).results[f"{name} of {run.id}"] is True
    assert claims.read(services.store, name) is None


LATER, DAMAGED = {"schema_version": 99}, {"run": {"of": "tomorrow"}}


@pytest.mark.parametrize(
    ("damage", "age_min", "deployed", "passes"),
    [
        (DAMAGED, 0, False, True),
        (DAMAGED, 10_000, True, False),
        (LATER, 59, False, False),
        (LATER, 61, False, True),
        (LATER, -200 * 24 * 60, False, True),
        (LATER, 10_000, True, False),
    ],
)
def test_a_run_that_cannot_be_read_keeps_others_from_an_endpoint_only_while_its_deployment_is_there(
    prepared: Run,
    services: Services,
    clock: ManualClock,
    damage: dict[str, object],
    age_min: int,
    deployed: bool,
    passes: bool,
) -> None:
    names = [claims.turn_claim("shop"), claims.endpoint_claim("shop")]
    for name in names:
        claims.take(services.store, name, prepared.id, clock.now())
    stored = services.store.get(prepared.id, runs.RUN)
    assert stored is not None
    services.store.batch(prepared.id, [Write("replace", runs.RUN, {**stored.document, **damage})])
    clock.advance(60 * age_min)
    _, left = released(services, Deployments(endpoint("old", *[paths.deployment_name(prepared.id)] * deployed)))
    assert left == (["dataset"] if passes else ["dataset", "endpoint", "turn"])


@pytest.mark.parametrize("error", [Transient("store_down", "503"), StoreConflict("a document")])
def test_the_turn_of_a_run_stays_while_the_store_does_not_answer(
    prepared: Run, services: Services, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    name = claims.turn_claim("shop")
    claims.take(services.store, name, prepared.id, services.clock.now())

    def get(partition: str, id: str) -> Stored | None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(services.store, "get", get)
        assert f"{name} of {prepared.id}" in give_back(services).failed
    assert claims.read(services.store, name) is not None
