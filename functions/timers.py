"""Functions of timers: each looks at everything there is and does what is due.

They loop with `for_each` alone, so that one item, or one duty of `reconcile`, never stops the others.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from operator import attrgetter

import azure.functions as func

from functions.dispatch import Dispatcher
from shared.domain.endpoint import EndpointRecord
from shared.domain.run import Run, Status
from shared.pipeline import Stage
from shared.ports import Services
from shared.records import runs, serving_costs, ticks
from shared.records.endpoints import all_records, as_of
from shared.runner import Runner
from shared.step_support.loops import LoopResult, for_each, where
from shared.step_support.outcome import Draft
from shared.steps import reconcile as reconcile_step
from shared.steps.monitor_endpoints import monitor_endpoint
from shared.steps.probe_deployments import probe_deployment
from shared.steps.retire_deployments import count_costs, stop_idle
from shared.steps.retire_deployments import retire_deployments as retire_step
from shared.steps.retrain import retrain as retrain_step

log = logging.getLogger(__name__)

# Of a duty, in which many items may wait for a slow service. Below functionTimeout in host.json.
TASK_LIMIT_S = 480.0
# The next tick may come in a second. A probe that takes longer goes on by itself, so that the others' do not wait.
PROBE_WAIT_S = 1.0
_id = attrgetter("id")
# At the end of what an item is called in a loop.
_RUN_ID = re.compile(r"\brun-[0-9a-f]{12}$")


def probe_deployments(stage: Stage, dispatcher: Dispatcher, timer: func.TimerRequest) -> None:
    runner = dispatcher.runner
    found = chain.from_iterable(
        runs.with_status(runner.services.store, status) for status in (Status.DEPLOYING, Status.ROLLING_BACK)
    )
    done: LoopResult[object] = for_each(
        stage.name, found, partial(_probe, stage, runner), id_of=_id, wait_s=PROBE_WAIT_S
    )
    _keep(stage, done, runner)


def _probe(stage: Stage, runner: Runner, run: Run) -> None:
    draft = probe_deployment(run, runner.services)
    _publish(stage, runner, run, draft and _of_now(draft, runner))


def monitor_endpoints(stage: Stage, dispatcher: Dispatcher, timer: func.TimerRequest) -> None:
    runner = dispatcher.runner
    records = all_records(runner.services.store)
    _keep(stage, for_each(stage.name, records, partial(_monitor, stage, runner), id_of=_endpoint), runner)


def _monitor(stage: Stage, runner: Runner, record: EndpointRecord) -> None:
    if (champion := runner.load(record.champion)) is not None:
        monitor_endpoint(record, champion, runner.services, partial(_publish, stage, runner, champion))


def retire_deployments(stage: Stage, dispatcher: Dispatcher, timer: func.TimerRequest) -> None:
    runner = dispatcher.runner
    records, store = list(all_records(runner.services.store)), runner.services.store
    done = for_each(stage.name, records, partial(_retire, stage, runner), id_of=_endpoint)
    names = {record.endpoint: _endpoint(record) for record in records}
    found, count = names.keys() | serving_costs.with_running(store), partial(count_costs, services=runner.services)
    counted = for_each("serving costs", sorted(found), count, id_of=lambda name: names.get(name, name))
    _keep(stage, LoopResult(failed={**done.failed, **counted.failed}), runner)


def _retire(stage: Stage, runner: Runner, record: EndpointRecord) -> None:
    services, champion = runner.services, runner.load(record.champion)
    view = services.models.get_endpoint(record.endpoint)
    if champion is not None:
        record = as_of(services.store, record, services.clock.now())
        publish = partial(_publish, stage, runner, champion)
        retire_step(record, view, services, publish)
        stop_idle(record, view, champion, services, publish)


def reconcile(stage: Stage, dispatcher: Dispatcher, timer: func.TimerRequest) -> None:
    runner = dispatcher.runner
    services = runner.services
    now = services.clock.now()
    known = ticks.read(services.store, now)
    tasks: dict[str, Callable[[], LoopResult[bool]]] = {
        "unsent": runner.publish_all_unsent,
        "silent_jobs": partial(reconcile_step.inspect_silent_jobs, services, known.last),
        "missed_blobs": partial(reconcile_step.start_missed_runs, services),
        "overdue": partial(_publish_overdue, stage, runner, known),
        "next_evaluations": partial(_start_next_evaluations, stage, runner),
        "claims": partial(reconcile_step.release_claims, services, runner.note_timer),
    }
    done = for_each(stage.name, tasks, lambda task: tasks[task](), limit_s=TASK_LIMIT_S)
    ticks.record(services.store, now, known.pauses)
    found = {task: summary.count for task, summary in done.results.items()}
    if any(found.values()):
        log.info("reconcile found %s", found)
    failed = chain(done.failed.items(), *(summary.failed.items() for summary in done.results.values()))
    _keep(stage, LoopResult(failed=dict(failed)), runner)


def _start_next_evaluations(stage: Stage, runner: Runner) -> LoopResult[bool]:
    def start(waiting: list[Run]) -> bool:
        found = reconcile_step.next_evaluation(waiting, runner.services)
        return found is not None and _publish(stage, runner, found[0], _of_now(found[1], runner))

    waiting = runs.waiting(runner.services.store).values()
    return for_each("next evaluations", waiting, start, id_of=lambda waiting: waiting[0].id)


def _publish(stage: Stage, runner: Runner, run: Run, draft: Draft | None) -> bool:
    """Whether there was something to publish."""
    if draft is not None:
        runner.publish(run, draft, by=stage)
    return draft is not None


def _of_now(draft: Draft, runner: Runner) -> Draft:
    """What another tick finds again is another event, and is handled again."""
    return replace(draft, key=str(int(runner.services.clock.now().timestamp())))


def _publish_overdue(stage: Stage, runner: Runner, known: ticks.Ticks) -> LoopResult[bool]:
    now = runner.services.clock.now()

    def found(run: Run) -> Draft | None:
        return reconcile_step.overdue(run, now, known.pauses) or reconcile_step.reminder(run, known.last, now)

    late = where(found, runs.unfinished(runner.services.store))
    return for_each("overdue", late, lambda run: _publish(stage, runner, run, found(run)), id_of=_id)


def retrain(stage: Stage, dispatcher: Dispatcher, timer: func.TimerRequest) -> None:
    """`receive_dataset` sees whether anything is new."""
    services = dispatcher.services
    records = all_records(services.store)
    _keep(stage, for_each(stage.name, records, partial(_retrain, services), id_of=_endpoint), dispatcher.runner)


def _retrain(services: Services, record: EndpointRecord) -> None:
    champion = runs.load(services.store, record.champion)
    if champion is not None:
        retrain_step(record, champion, services)


def _endpoint(record: EndpointRecord) -> str:
    return f"{record.endpoint} of {record.champion}"


def _keep(stage: Stage, summary: LoopResult[object], runner: Runner) -> None:
    """What failed, and does no more, where `doctor` finds it and on the runs it is about.

    It is logged already, so a store that is away changes nothing.
    """
    services = runner.services
    try:
        before = ticks.failing(services.store, stage.name)
        if not before and not summary.failed:
            return
        first = dict(islice(summary.failed.items(), ticks.MAX_NAMED))
        both: dict[str, str | None] = {**dict.fromkeys(before), **first}
        problems = {found[0]: both[id] for id in sorted(both, key=first.__contains__) if (found := _RUN_ID.search(id))}
        noted = for_each("attention", problems, lambda id: runner.note_timer(id, stage.name, problems[id]))
        ticks.record_failures(services.store, stage.name, services.clock.now(), summary.failed, *noted.failed)
    except Exception:
        log.exception("what %s failed at is not kept for doctor", stage.name)
