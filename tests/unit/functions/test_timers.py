"""What functions/timers.py does of itself at each tick: whom it asks, what it publishes, what it survives."""

from __future__ import annotations

import ast
import random
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

from functions import timers
from functions.dispatch import Dispatcher
from shared.domain.endpoint import EndpointRecord
from shared.domain.errors import Transient
from shared.domain.jobs import EndpointView
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Deployment, Recipe, Retrain
from shared.domain.run import RolloutRef, Run, Status
from shared.embedded.store import SqliteRunStore
from shared.pipeline import BY_NAME, STAGES
from shared.ports import Services
from shared.records import claims, endpoints, runs, ticks
from shared.runner import Runner
from shared.step_support.loops import AT_ONCE, LIMIT_S
from tests.clock import JUMPS, ManualClock
from tests.fresh_process import fresh_process
from tests.paths import ROOT
from tests.unit.functions.http.support import enter
from tests.unit.functions.isolation import BREAKS, DAY, LOOPS, Cable, Platform, cable, populate
from tests.unit.shared.support import ROW, drop, events_at, take


class Unreachable:
    """A platform that answers nothing."""

    def __getattr__(self, name: str) -> Any:
        raise Transient("azure_ml_down", "503")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> Iterator[Services]:
    monkeypatch.setattr(timers, "PROBE_WAIT_S", LIMIT_S)  # what a probe does is told by the same tick
    with fresh_process(tmp_path, monkeypatch) as found:
        yield replace(found, clock=clock, models=Unreachable(), launcher=Unreachable())


@pytest.fixture
def run(services: Services) -> Run:
    created = drop(services, Runner(services))
    assert created is not None
    return created


def tick(services: Services, name: str) -> None:
    timer: func.TimerRequest = None  # type: ignore[assignment]
    getattr(timers, name)(BY_NAME[name], Dispatcher(lambda: services), timer)


def in_production(services: Services, run: Run, days: int | None = None) -> EndpointRecord:
    """The endpoint whose champion is this run."""
    recipe = Recipe(base_model="droptune/tiny-llama", retrain=Retrain(every_days=days))
    enter(services, run, Status.DEPLOYED, recipe=resolve(recipe, "shop", train_rows=100, characters_max=100))
    record = EndpointRecord(
        endpoint="shop",
        project="shop",
        champion=run.id,
        deployment="d-new",
        model="shop:1",
        scoring_uri="http://x/",
        promoted_at=services.clock.now(),
    )
    endpoints.write(services.store, record, replacing=None)
    return record


def test_each_statement_of_a_tick_is_a_search_of_one_index(sound: Services, clock: ManualClock) -> None:
    """Each timer has an item for each of its loops to do."""
    services = sound
    for number, loop in enumerate(LOOPS.values()):
        run = drop(services, Runner(services), f"datasets/p{number}/train.jsonl", ROW.replace(b"a", b"%d" % number))
        assert run is not None
        loop.prepare(services, run)
    clock.advance(3 * DAY)
    assert isinstance(services.store, SqliteRunStore)
    statements: list[str] = []
    with services.store._database.read() as connection:
        connection.set_trace_callback(statements.append)
    for stage in STAGES:
        if stage.timer:
            tick(services, stage.name)
    with services.store._database.read() as connection:
        connection.set_trace_callback(None)
        reads = [sql for sql in statements if sql.lstrip().startswith("SELECT")]
        plans = [[row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")] for sql in reads]
    filters = ["_".join(re.findall(r"json_type\(body, '\$\.(\w+)'\)", sql)) for sql in reads]
    assert {"finished", "sent", "settled", "status", ""} <= set(filters)
    searches = (f"SEARCH documents USING INDEX {f'documents_by_{name} ' if name else ''}" for name in filters)
    assert [
        plan for plan, search in zip(plans, searches, strict=True) if [p[: len(search)] for p in plan] != [search]
    ] == []


@pytest.mark.parametrize("status", [Status.DEPLOYING, Status.ROLLING_BACK])
def test_a_platform_that_does_not_answer_leaves_a_rollout_for_the_next_tick(
    services: Services, run: Run, status: Status
) -> None:
    rollout = RolloutRef(endpoint="shop", deployment="d-new", model="shop:1", previous={}, traffic={}, step=0)
    enter(services, run, status, rollout=rollout)
    tick(services, "probe_deployments")
    assert events_at(services, "advance_rollout") == []


def test_a_platform_that_does_not_answer_leaves_deployments_for_the_next_tick(services: Services, run: Run) -> None:
    record = in_production(services, run)
    tick(services, "retire_deployments")
    assert endpoints.read(services.store, "shop") == record


@pytest.mark.parametrize("name", ["retire_deployments", "retrain"])
def test_an_endpoint_whose_run_is_unknown_is_passed_over(services: Services, run: Run, name: str) -> None:
    record = in_production(services, run, days=7)
    unknown = record.model_copy(update={"champion": "run-unknown"})
    endpoints.write(services.store, unknown, replacing=record)
    take(services, "storage-events")
    tick(services, name)
    assert take(services, "storage-events") == []


def test_a_schedule_that_is_due_sends_one_command(services: Services, run: Run, clock: ManualClock) -> None:
    in_production(services, run, days=7)
    take(services, "storage-events")
    tick(services, "retrain")
    assert take(services, "storage-events") == []
    clock.advance(7 * 24 * 3600)
    tick(services, "retrain")
    assert [sent.message.subject for sent in take(services, "storage-events")] == ["droptune.run.start.v1"]


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(days=1), timedelta(days=400)])
def test_a_jump_of_the_clock_over_a_deadline_gives_the_run_ten_minutes(
    services: Services, run: Run, clock: ManualClock, jump: timedelta
) -> None:
    take(services, "pipeline/fail_run")
    tick(services, "reconcile")
    clock.advance(jump / timedelta(seconds=1))
    assert run.deadline_at is not None
    assert run.deadline_at <= clock.now()
    for _ in range(10):
        tick(services, "reconcile")
        assert events_at(services, "fail_run") == []
        clock.advance(60)
    tick(services, "reconcile")
    assert [event.short_type() for event in events_at(services, "fail_run")] == ["run.overdue"]


def test_an_overdue_run_is_said_to_be_and_the_tick_is_recorded(
    services: Services, run: Run, clock: ManualClock
) -> None:
    assert run.deadline_at is not None
    clock.advance((run.deadline_at - run.updated_at) / timedelta(seconds=1))
    take(services, "pipeline/fail_run")
    tick(services, "reconcile")
    [event] = events_at(services, "fail_run")
    assert (event.run_id, event.short_type()) == (run.id, "run.overdue")
    assert ticks.read(services.store, clock.now()).last == clock.now()


# One bad item

COUNT = 7


@pytest.fixture
def sound(services: Services, clock: ManualClock) -> Services:
    """Whose platform answers. Blobs carry the time of the machine, so its clock begins there."""
    clock.advance((datetime.now(UTC) - clock.now()).total_seconds())
    platform = Platform()
    return replace(services, models=platform, launcher=platform)  # type: ignore[arg-type]


def pairs_of_loop_and_break() -> list[Any]:
    """All of them; `make test` has each loop and each break at least twice."""
    number = range(max(len(LOOPS), len(BREAKS)))
    often = {(list(LOOPS)[n % len(LOOPS)], list(BREAKS)[(n + more) % len(BREAKS)]) for n in number for more in (0, 1)}
    every = [(name, how) for name in LOOPS for how in BREAKS]
    return [pytest.param(*pair, marks=() if pair in often else pytest.mark.slow) for pair in every]


@pytest.mark.parametrize(("name", "how"), pairs_of_loop_and_break())
def test_one_item_broken_in_any_way_stops_no_other(sound: Services, clock: ManualClock, name: str, how: str) -> None:
    loop = LOOPS[name]
    found = populate(sound, loop, COUNT)
    victim = random.Random(name + how).choice(found)
    broken = BREAKS[how](sound, victim)
    clock.advance(loop.later_s)
    tick(broken, loop.timer)
    others = {run.project for run in found} - {victim.project}
    assert others <= loop.reached(sound, found)
    assert loop.timer != "reconcile" or ticks.read(sound.store, clock.now()).last == clock.now()


@pytest.mark.parametrize("name", LOOPS)
def test_one_item_that_hangs_delays_no_other(sound: Services, clock: ManualClock, name: str) -> None:
    loop, over = LOOPS[name], threading.Event()
    found = populate(sound, loop, COUNT)
    victim = random.Random(name).choice(found)
    clock.advance(loop.later_s)
    ticking = threading.Thread(target=tick, args=(cable(over.wait)(sound, victim), loop.timer), daemon=True)
    ticking.start()
    others, reached = {run.project for run in found} - {victim.project}, set[str]()
    deadline = time.monotonic() + 120
    while not others <= reached and time.monotonic() < deadline:
        reached |= loop.reached(sound, found)
        time.sleep(0.01)
    over.set()
    ticking.join(120)
    assert others <= reached
    assert not ticking.is_alive()


@pytest.mark.few_cases(12)
@pytest.mark.parametrize("jump_s", JUMPS)
@pytest.mark.parametrize("name", LOOPS)
def test_what_is_due_is_done_no_later_although_the_clock_jumped(
    sound: Services, clock: ManualClock, name: str, jump_s: float
) -> None:
    loop = LOOPS[name]
    found = populate(sound, loop, 3)
    tick(sound, "reconcile")
    reached = loop.reached(sound, found)
    clock.advance(jump_s)
    for _ in range(2):
        tick(sound, loop.timer)
        reached |= loop.reached(sound, found)
        clock.advance(loop.later_s)
    tick(sound, loop.timer)
    assert reached | loop.reached(sound, found) == {run.project for run in found}


@pytest.mark.parametrize("ahead_s", [3600, 24 * 3600])
def test_what_was_dropped_while_the_clock_was_ahead_is_found_once_it_is_right_again(
    sound: Services, clock: ManualClock, ahead_s: float
) -> None:
    loop = LOOPS["missed blobs"]
    clock.advance(ahead_s)
    tick(sound, "reconcile")
    found = populate(sound, loop, 3)
    clock.advance(900)
    tick(sound, "reconcile")
    clock.advance(-ahead_s)
    for _ in range(2):
        tick(sound, "reconcile")
        clock.advance(loop.later_s)
    tick(sound, "reconcile")
    assert loop.reached(sound, found) == {run.project for run in found}


@pytest.mark.parametrize("jump_s", JUMPS)
def test_an_approval_expires_once_when_the_clock_says_so_and_not_before(
    services: Services, run: Run, clock: ManualClock, jump_s: float
) -> None:
    recipe = Recipe(base_model="droptune/tiny-llama", deployment=Deployment(approval_hours=12))
    resolved = resolve(recipe, "shop", train_rows=100, characters_max=100)
    waiting = enter(services, run, Status.AWAITING_APPROVAL, recipe=resolved)
    assert waiting.deadline_at is not None
    take(services, "pipeline/record_decision")
    tick(services, "reconcile")
    clock.advance(jump_s)
    tick(services, "reconcile")
    assert take(services, "pipeline/record_decision") == []
    clock.advance((waiting.deadline_at - clock.now()).total_seconds())
    tick(services, "reconcile")
    ids = set()
    for _ in range(2):
        clock.advance(5 * 60)
        tick(services, "reconcile")
        ids |= {received.message.id for received in take(services, "pipeline/record_decision")}
    assert ids == {f"{run.id}.approval.expired.{waiting.revision}"}


def test_a_person_is_reminded_once_of_an_approval_before_it_expires(
    services: Services, run: Run, clock: ManualClock
) -> None:
    recipe = Recipe(base_model="droptune/tiny-llama", deployment=Deployment(approval_hours=12))
    resolved = resolve(recipe, "shop", train_rows=100, characters_max=100)
    waiting = enter(services, run, Status.AWAITING_APPROVAL, recipe=resolved)
    take(services, "pipeline/notify")
    sent = []
    for _ in range(12 * 6 - 1):
        tick(services, "reconcile")
        clock.advance(10 * 60)
        ids = [received.message.id for received in take(services, "pipeline/notify")]
        sent += [(clock.now(), id) for id in ids if ".approval." in id]
    ((at, id),) = sent
    assert id == f"{run.id}.approval.reminder.{waiting.revision}"
    assert waiting.deadline_at is not None
    assert timedelta(hours=2.5) < waiting.deadline_at - at <= timedelta(hours=3)


class Slow(Platform):
    """Some endpoints answer only once it is over."""

    def __init__(self, slow: set[str]) -> None:
        super().__init__()
        self.slow, self.over = slow, threading.Event()

    def get_endpoint(self, name: str) -> EndpointView:
        if name in self.slow:
            self.over.wait()
        return super().get_endpoint(name)


@pytest.mark.parametrize("slow", [1, AT_ONCE, 2 * AT_ONCE + 1])
def test_endpoints_that_answer_slowly_keep_no_other_from_being_probed_at_each_tick(
    sound: Services, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, slow: int
) -> None:
    monkeypatch.setattr(timers, "PROBE_WAIT_S", 0.1)
    found = populate(sound, LOOPS["probes"], slow + 5)
    platform = Slow({run.project for run in found[:slow]})
    services = replace(sound, models=platform)  # type: ignore[arg-type]

    def probed(of: list[Run]) -> list[str]:
        tick(services, "probe_deployments")
        names = {f"probe_deployments {run.id}" for run in of}
        for thread in threading.enumerate():
            if thread.name in names:
                thread.join(60)
        return sorted(event.run_id for event in events_at(services, "advance_rollout"))

    for _ in range(3):
        assert probed(found[slow:]) == sorted(run.id for run in found[slow:])
        clock.advance(60)
    assert ticks.failing(sound.store, "probe_deployments") == []
    platform.over.set()
    assert {run.id for run in found[:slow]} <= set(probed(found) + probed(found))


def down() -> None:
    raise Transient("down", "503")


def test_what_a_timer_failed_at_is_kept_with_the_items_name(sound: Services, clock: ManualClock) -> None:
    loop = LOOPS["retire"]
    found = populate(sound, loop, 3)
    broken = replace(sound, models=Cable(sound.models, found[1].project, down))
    tick(broken, loop.timer)
    [(timer, at, count, failed)] = ticks.failures(sound.store)
    assert (timer, at, count) == ("retire_deployments", clock.now().isoformat(), 1)
    assert failed == {f"{found[1].project} of {found[1].id}": "down: 503"}


STATED = [name for name in LOOPS if name != "missed blobs"]


@pytest.mark.parametrize("name", STATED)
def test_what_a_timer_fails_at_stands_on_the_run_until_it_works(sound: Services, clock: ManualClock, name: str) -> None:
    """The loop over blobs has no runs yet. Written once when it begins and once when it ends, not at each tick."""
    loop = LOOPS[name]
    found = populate(sound, loop, 3)
    clock.advance(loop.later_s)
    victim, port = found[1], "models" if name in ("claims", "probes", "retire") else "bus"
    named = Cable(Cable(getattr(sound, port), victim.project, down), victim.id, down)
    broken, begun = replace(sound, **{port: named}), clock.now()  # type: ignore[arg-type]
    etags = set()
    for _ in range(3):
        tick(broken, loop.timer)
        found_run = runs.read(sound.store, victim.id)
        assert found_run is not None
        [known] = found_run.run.attention
        etags.add(found_run.stored.etag)
        assert (known.timer, known.problem, known.since) == (loop.timer, "down: 503", begun)
        clock.advance(60)
    assert len(etags) == 1
    assert [run.attention for run in map(Runner(sound).load, (found[0].id, found[2].id)) if run] == [(), ()]
    tick(sound, loop.timer)
    assert Runner(sound).load(victim.id).attention == ()  # type: ignore[union-attr]
    assert ticks.failing(sound.store, loop.timer) == []


def test_a_run_with_two_claims_of_which_one_fails_is_not_said_to_work(sound: Services, clock: ManualClock) -> None:
    loop = LOOPS["claims"]
    found = populate(sound, loop, 1)
    clock.advance(loop.later_s)
    endpoint = claims.endpoint_claim(found[0].project)
    broken = replace(sound, store=Cable(sound.store, f"'{endpoint}'", down))
    for _ in range(2):
        tick(broken, loop.timer)
        clock.advance(60)
        [known] = Runner(sound).load(found[0].id).attention  # type: ignore[union-attr]
        assert known.problem == "down: 503"
    assert [claim.kind for claim in claims.unsettled(sound.store)] == ["endpoint"]
    tick(sound, loop.timer)
    assert list(claims.unsettled(sound.store)) == []


def test_of_many_that_fail_the_first_are_stated_and_all_are_cleared(sound: Services, clock: ManualClock) -> None:
    """A platform that is down would cost a document for each run of all."""
    loop = LOOPS["probes"]
    found = populate(sound, loop, ticks.MAX_NAMED + 5)
    tick(replace(sound, models=Unreachable()), loop.timer)
    stated = [run.attention for run in map(Runner(sound).load, (one.id for one in found)) if run]
    assert [len(known) for known in stated].count(1) == ticks.MAX_NAMED
    [(_, _, count, _)] = ticks.failures(sound.store)
    assert count == len(found)
    tick(sound, loop.timer)
    assert [run.attention for run in map(Runner(sound).load, (one.id for one in found)) if run] == [()] * len(found)
    [(_, _, count, _)] = ticks.failures(sound.store)
    assert count == len(found), "doctor names it for a day"


def test_a_note_that_is_not_written_is_written_by_a_later_tick(sound: Services, clock: ManualClock) -> None:
    loop = LOOPS["probes"]
    found = populate(sound, loop, 2)
    tick(replace(sound, models=Cable(sound.models, found[0].project, down)), loop.timer)

    class ReadOnly:
        def __init__(self, store: Any) -> None:
            self.query, self.get = store.query, store.get

        def batch(self, partition: str, writes: Any) -> None:
            if partition == found[0].id:
                down()
            sound.store.batch(partition, writes)

    tick(replace(sound, store=ReadOnly(sound.store)), loop.timer)  # type: ignore[arg-type]
    assert Runner(sound).load(found[0].id).attention  # type: ignore[union-attr]
    tick(sound, loop.timer)
    assert Runner(sound).load(found[0].id).attention == ()  # type: ignore[union-attr]


READS_THE_OUTSIDE = frozenset(
    {
        "unfinished",
        "with_status",
        "all_records",
        "unsettled",
        "runs_with_unsent",
        "list",
        "every",
        "pages",
    }
)


@pytest.mark.parametrize(
    "path", ["functions/timers.py", "shared/steps/reconcile.py", "shared/steps/retire_deployments.py"]
)
def test_no_timer_loops_without_for_each(path: str) -> None:
    """A loop of its own would end at the first item that fails: none is written, and no list is gone through."""
    tree = ast.parse((ROOT / path).read_text())
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.For | ast.While | ast.AsyncFor)]
    assert [ast.unparse(node) for node in loops] == []
    ways = [node.iter for node in ast.walk(tree) if isinstance(node, ast.comprehension)]
    called = [
        ast.unparse(call.func).rsplit(".")[-1] for way in ways for call in ast.walk(way) if isinstance(call, ast.Call)
    ]
    assert READS_THE_OUTSIDE.isdisjoint(called)


def test_each_timer_loops_with_for_each() -> None:
    source = ast.parse((ROOT / "functions/timers.py").read_text())
    functions = {node.name: node for node in source.body if isinstance(node, ast.FunctionDef)}
    for stage in STAGES:
        if stage.timer:
            called = {ast.unparse(node.func) for node in ast.walk(functions[stage.name]) if isinstance(node, ast.Call)}
            assert "for_each" in called, stage.name
