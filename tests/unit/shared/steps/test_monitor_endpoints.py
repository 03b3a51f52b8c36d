"""What is said of a deployment in production, when, how often, and when its traffic goes back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.domain import paths
from shared.domain.dataset import CuratedVersion
from shared.domain.endpoint import Baseline, EndpointHealth, EndpointRecord, HealthState, Stopped
from shared.domain.errors import OVERLOADED, PermanentFailure, StoreConflict, Transient
from shared.domain.events import EndpointDegraded, EndpointDown, EndpointRecovered, RollbackRequested
from shared.domain.jobs import ChatAnswer, DeploymentState, DeploymentView, EndpointView, RequestStats
from shared.domain.planning.plan import resolve
from shared.domain.policy import PlatformPolicy, Project
from shared.domain.prompts import Prompt
from shared.domain.recipe import Deployment, Recipe
from shared.domain.run import Run, Status
from shared.ports import Services
from shared.records import claims, endpoints, policies
from shared.runner import Runner
from shared.step_support.outcome import Draft
from shared.steps.monitor_endpoints import MEASURED_AFTER, MIN_REQUESTS, monitor_endpoint, of_requests
from tests.clock import ManualClock
from tests.unit.functions.http.support import enter
from tests.unit.shared.steps.test_probe_deployments import _lines
from tests.unit.shared.support import ROW, drop

NEW, OLD = "d-new", "d-old"
QUESTIONS = [f"q{number}" for number in range(1, 8)]


class Models:
    """Deployments that answer as the test says: seconds, wrong words, or an error."""

    def __init__(self) -> None:
        self.seconds = {NEW: 0.5, OLD: 0.5}
        self.wrong = {NEW: 0, OLD: 0}
        self.errors: dict[str, Transient] = {}
        self.state, self.instances, self.is_changing = DeploymentState.SUCCEEDED, 1, False
        self.deployments = [NEW, OLD]
        self.requests: list[str] = []
        self.stats = RequestStats(requests=0, failed=0)
        self.used_since: bool | None = True
        self.spans: list[tuple[datetime, datetime]] = []

    def get_endpoint(self, name: str) -> EndpointView:
        fields = {"scoring_uri": "http://x/", "traffic": {NEW: 100}, "is_changing": self.is_changing}
        return EndpointView(name=name, deployments=tuple(self.deployments), **fields)

    def get_deployment(self, endpoint: str, name: str) -> DeploymentView | None:
        if name not in self.deployments:
            return None
        return DeploymentView(name=name, state=self.state, instances=self.instances)

    def request_stats(self, endpoint: str, deployment: str, since: datetime, until: datetime) -> RequestStats:
        assert since < until
        self.spans.append((since, until))
        return self.stats

    def had_requests(self, endpoint: str, deployment: str, since: datetime, until: datetime) -> bool | None:
        return self.used_since

    def chat(self, endpoint: str, prompt: Prompt, *, deployment: str, max_tokens: int = 256) -> ChatAnswer:
        question = str(prompt.messages[-1]["content"])
        self.requests.append(deployment)
        if deployment in self.errors:
            raise self.errors[deployment]
        text = "otherwise" if int(question[1:]) <= self.wrong[deployment] else f"tuned {question}"
        return ChatAnswer(text=text, deployment=deployment, latency_s=self.seconds[deployment])


class Monitored:
    """An endpoint, looked at as the timer does."""

    def __init__(self, services: Services, models: Models, clock: ManualClock, champion: Run) -> None:
        self.services, self.models, self.clock, self.champion = services, models, clock, champion
        self.published: list[Draft] = []

    @property
    def record(self) -> EndpointRecord:
        found = endpoints.read(self.services.store, "shop")
        assert found is not None
        return found

    @property
    def health(self) -> EndpointHealth:
        assert self.record.health is not None
        return self.record.health

    def change(self, **changes: Any) -> None:
        endpoints.write(self.services.store, self.record.model_copy(update=changes), replacing=self.record)

    def probe(self, times: int = 1) -> list[Any]:
        """What is published at so many ticks, five minutes apart."""
        self.published.clear()
        for _ in range(times):
            self.clock.advance(300)
            monitor_endpoint(self.record, self.champion, self.services, self.published.append)
        return [draft.data for draft in self.published]

    def configure(self, **deployment: Any) -> None:
        self.champion = with_deployment(self.champion, **deployment)


def with_deployment(run: Run, **deployment: Any) -> Run:
    recipe = Recipe(base_model="droptune/tiny-llama", deployment=Deployment(**deployment))
    return run.evolve(recipe=resolve(recipe, "shop", train_rows=1, characters_max=9))


def evaluated(services: Services, runner: Runner, name: str, row: bytes) -> Run:
    """A deployed run, with seven held-out rows and the answers of its evaluation."""
    created = drop(services, runner, f"datasets/shop/{name}.jsonl", row)
    assert created is not None
    fields = {"train_rows": 1, "eval_rows": 7, "characters_max": 9}
    curated = CuratedVersion(project="shop", version="v1", source=created.dataset, **fields)
    rows = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": "x"}]} for q in QUESTIONS]
    graded = [
        {"row": number, "scores": {}, "answers": {"candidate": f"tuned {q}", "base": "untuned"}}
        for number, q in enumerate(QUESTIONS, start=1)
    ]
    services.blobs.write(paths.curated(curated, "eval.jsonl"), [_lines(rows)])
    services.blobs.write(paths.run(created.id, "evaluation/rows.jsonl"), [_lines(graded)])
    run = with_deployment(created.evolve(status=Status.DEPLOYED, curated=curated))
    return enter(services, created, Status.DEPLOYED, curated=curated, recipe=run.resolved)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def shop(services: Services, runner: Runner, clock: ManualClock) -> Monitored:
    models = Models()
    before, champion = (
        evaluated(services, runner, name, ROW.replace(b"a", name.encode())) for name in ("before", "now")
    )
    now = clock.now()
    good = Baseline(as_evaluated=1.0, latency_s=0.5)
    names = {"endpoint": "shop", "project": "shop", "scoring_uri": "http://x/"}
    first = EndpointRecord(**names, champion=before.id, deployment=OLD, model="shop:1", promoted_at=now, baseline=good)
    previous = first.as_previous(now + timedelta(hours=24))
    record = EndpointRecord(
        **names, champion=champion.id, deployment=NEW, model="shop:2", promoted_at=now, baseline=good, previous=previous
    )
    endpoints.write(services.store, record, replacing=None)
    ports = replace(services, models=models, clock=clock)  # type: ignore[arg-type]
    return Monitored(ports, models, clock, champion)


def test_a_sound_deployment_is_asked_five_questions_and_nothing_is_said(shop: Monitored) -> None:
    assert shop.probe(3) == []
    assert shop.models.requests == [NEW] * 15
    assert (shop.health.state, shop.health.in_a_row, shop.health.probed_at) == (
        HealthState.HEALTHY,
        3,
        shop.clock.now(),
    )


def test_a_blip_changes_nothing(shop: Monitored) -> None:
    shop.models.seconds[NEW] = 4.0
    assert shop.probe() == []
    assert (shop.health.state, shop.health.found) == (HealthState.HEALTHY, HealthState.DEGRADED)
    shop.models.seconds[NEW] = 0.5
    assert shop.probe(2) == []
    shop.models.errors[NEW] = Transient("endpoint_unreachable", "ReadTimeout")
    assert shop.probe() == []


@pytest.mark.parametrize(
    ("fault", "kind", "code", "numbers"),
    [
        ({"seconds": {NEW: 4.0}}, EndpointDegraded, "too_slow", (0.5, 4.0, 1.5)),
        ({"wrong": {NEW: 2}}, EndpointDegraded, "answers_changed", (1.0, 0.6, 0.8)),
        ({"errors": {NEW: Transient("endpoint_busy", "503")}}, EndpointDown, "not_answering", (0.0, 1.0, 0.0)),
        ({"errors": {NEW: Transient(OVERLOADED, "429")}}, EndpointDegraded, OVERLOADED, (0.0, 1.0, 0.0)),
        ({"deployments": [OLD]}, EndpointDown, "deployment_vanished", (None, None, None)),
        ({"stats": RequestStats(requests=100, failed=30)}, EndpointDegraded, "requests_fail", (None, 0.3, 0.05)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_two_probes_in_a_row_find_is_said_once_with_its_numbers(
    shop: Monitored, fault: dict[str, Any], kind: type[Any], code: str, numbers: tuple[Any, ...]
) -> None:
    shop.probe()
    for name, value in fault.items():
        setattr(shop.models, name, {**getattr(shop.models, name), **value} if isinstance(value, dict) else value)
    [event] = shop.probe(5)
    assert isinstance(event, kind)
    assert (event.problem.code, event.probes, event.rolls_back_to) == (code, 2, None)
    assert (event.before, event.now, event.limit) == (pytest.approx(numbers[0]), pytest.approx(numbers[1]), numbers[2])
    assert shop.health.problem == event.problem
    shop.models.__init__()  # type: ignore[misc]
    [recovered] = shop.probe(4)
    assert recovered == EndpointRecovered(
        endpoint="shop", deployment=NEW, probes=2, was=shop_state(kind), seconds=300.0 * 5
    )
    assert (shop.health.state, shop.health.problem) == (HealthState.HEALTHY, None)


def shop_state(kind: type[Any]) -> str:
    return "down" if kind is EndpointDown else "degraded"


def test_it_gets_worse_and_better_one_event_for_each_change(shop: Monitored) -> None:
    shop.models.seconds[NEW] = 4.0
    assert [type(one) for one in shop.probe(3)] == [EndpointDegraded]
    shop.models.errors[NEW] = Transient("endpoint_busy", "503")
    assert [(type(one), one.probes) for one in shop.probe(3)] == [(EndpointDown, 5)]
    shop.models.errors.clear()
    assert [type(one) for one in shop.probe(3)] == [EndpointDegraded]
    shop.models.seconds[NEW] = 0.5
    assert [type(one) for one in shop.probe(3)] == [EndpointRecovered]


def test_after_a_crash_before_the_write_the_same_event_is_published_again(
    shop: Monitored, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.models.seconds[NEW] = 4.0
    shop.probe()
    with monkeypatch.context() as crash:
        crash.setattr(endpoints, "write", lambda *_, **__: (_ for _ in ()).throw(StoreConflict("crash")))
        with pytest.raises(StoreConflict):
            shop.probe()
    [lost] = shop.published
    shop.probe()
    assert [draft.key for draft in shop.published] == [lost.key]


@pytest.mark.parametrize("how", ["creating", "no machine", "endpoint changes", "stopped", "held"])
def test_one_that_is_changed_stopped_or_scaled_to_zero_is_not_down(shop: Monitored, how: str) -> None:
    shop.models.errors[NEW] = Transient("endpoint_busy", "503")
    now = shop.clock.now()
    match how:
        case "creating":
            shop.models.state = DeploymentState.CREATING
        case "no machine":
            shop.models.instances = 0
        case "endpoint changes":
            shop.models.is_changing = True
        case "stopped":
            shop.change(stopped=Stopped(deployment=NEW, at=now, reason="idle"))
        case "held":
            claims.take(shop.services.store, claims.endpoint_claim("shop"), "run-other", now)
    assert shop.probe(3) == []
    assert (shop.models.requests, shop.record.health) == ([], None)


def test_what_was_seen_while_a_rollout_began_is_not_said(shop: Monitored, monkeypatch: pytest.MonkeyPatch) -> None:
    def chat(*_: Any, **__: Any) -> ChatAnswer:
        claims.take(shop.services.store, claims.endpoint_claim("shop"), "run-other", shop.clock.now())
        raise Transient("endpoint_busy", "503")

    monkeypatch.setattr(shop.models, "chat", chat)
    assert shop.probe(3) == []
    assert shop.record.health is None


def test_the_traffic_goes_back_to_a_previous_deployment_that_answers_well(shop: Monitored) -> None:
    shop.configure(on_degraded="roll_back")
    shop.models.seconds[NEW] = 4.0
    event, order = shop.probe(4)
    assert (event.rolls_back_to, type(event)) == (OLD, EndpointDegraded)
    assert isinstance(order, RollbackRequested)
    assert (order.deployment, order.to, order.by) == (NEW, OLD, "")
    assert order.reason is not None
    assert order.reason.code == "too_slow"
    assert order.reason.message == "shop is degraded by 2 probes in a row: answers take 4.00 s, and took 0.50 s"


@pytest.mark.parametrize("why", ["worse", "cold", "left", "none", "unknown", "notify", "busy", "owner"])
def test_the_traffic_goes_nowhere_worse_and_not_twice(shop: Monitored, why: str) -> None:
    shop.configure(on_degraded="notify" if why == "notify" else "roll_back")
    previous = shop.record.previous
    assert previous is not None
    shop.models.seconds[NEW] = 4.0
    match why:
        case "worse":
            shop.models.wrong[OLD] = 5
        case "cold":
            shop.change(previous=previous.model_copy(update={"keep_until": shop.clock.now()}))
        case "left":
            shop.change(previous=previous.model_copy(update={"left": True}))
        case "none":
            shop.change(previous=None)
        case "unknown":
            shop.change(previous=previous.model_copy(update={"champion": "run-000000000000"}))
        case "busy":
            shop.models.errors[NEW] = Transient(OVERLOADED, "429")
        case "owner":
            policy = PlatformPolicy(projects={"other": Project(endpoints=("shop",))})
            policies.apply(shop.services.store, policy, 0, "ada", "ada", shop.clock.now())
    [event] = shop.probe(4)
    assert event.rolls_back_to is None


@pytest.mark.parametrize("questions", [0, 3, 7])
def test_the_recipe_says_how_many_questions(shop: Monitored, questions: int) -> None:
    shop.configure(golden_questions=questions)
    shop.models.stats = RequestStats(requests=100, failed=30)
    assert [type(one) for one in shop.probe(2)] == [EndpointDegraded]
    assert len(shop.models.requests) == 2 * questions


def test_one_that_may_be_stopped_as_idle_is_asked_only_after_others_asked(shop: Monitored) -> None:
    shop.configure(idle_hours=4)
    shop.models.used_since = False
    assert shop.probe() == []
    assert len(shop.models.requests) == 5, "for the first time"
    shop.probe(3)
    assert len(shop.models.requests) == 5
    shop.models.used_since = None  # not known is no reason to ask
    shop.probe()
    assert len(shop.models.requests) == 5
    shop.models.used_since, shop.models.seconds[NEW] = True, 4.0
    shop.probe()
    shop.models.used_since = False
    assert [type(one) for one in shop.probe(3)] == [EndpointDegraded], "a first bad probe is followed by a second"
    assert len(shop.models.requests) == 15


def test_a_model_of_an_earlier_version_is_compared_with_its_evaluation_alone(shop: Monitored) -> None:
    shop.change(baseline=None)
    shop.models.seconds[NEW] = 60.0
    assert shop.probe(3) == []
    shop.models.wrong[NEW] = 2
    assert [one.problem.code for one in shop.probe(2)] == ["answers_changed"]


def test_of_a_run_that_lost_its_recipe_in_a_repair_requests_alone_are_looked_at(shop: Monitored) -> None:
    shop.champion = shop.champion.evolve(recipe=None, curated=None)
    shop.models.stats = RequestStats(requests=100, failed=30)
    assert [type(one) for one in shop.probe(2)] == [EndpointDegraded]
    assert shop.models.requests == []


def test_an_evaluation_that_cannot_be_read_is_raised_and_says_nothing_of_the_model(shop: Monitored) -> None:
    shop.services.blobs.delete(paths.run(shop.champion.id, "evaluation/rows.jsonl"))
    with pytest.raises(PermanentFailure, match="no_evaluation"):
        shop.probe()


def test_requests_are_those_since_the_last_look_as_far_as_they_are_measured(shop: Monitored) -> None:
    shop.probe(3)
    before, last = shop.models.spans[-2:]
    assert last == (before[1], shop.clock.now() - MEASURED_AFTER)
    assert shop.models.spans[0][0] == shop.record.promoted_at


def test_the_latency_of_all_requests_is_compared_with_what_was_first_known_of_it(shop: Monitored) -> None:
    shop.models.stats = RequestStats(requests=MIN_REQUESTS - 1, failed=0, latency_s=9.0)
    shop.probe()
    shop.models.stats = RequestStats(requests=MIN_REQUESTS, failed=0, latency_s=2.0)
    assert shop.probe(2) == []
    assert shop.record.baseline == Baseline(as_evaluated=1.0, latency_s=0.5, requests_latency_s=2.0)
    shop.models.stats = RequestStats(requests=MIN_REQUESTS, failed=0, latency_s=6.1)
    [event] = shop.probe(2)
    assert (event.problem.code, event.before, event.now, event.limit) == ("too_slow", 2.0, 6.1, 6.0)


@pytest.mark.parametrize(
    ("requests", "failed", "is_bad"),
    [
        (3, 1, False),
        (19, 19, False),
        (20, 1, False),
        (20, 2, False),
        (20, 4, True),
        (1000, 60, False),
        (1000, 80, True),
    ],
)
def test_few_failures_among_few_requests_say_nothing(requests: int, failed: int, is_bad: bool) -> None:
    found = of_requests(RequestStats(requests=requests, failed=failed), None)
    assert (found.problem is not None) == is_bad
