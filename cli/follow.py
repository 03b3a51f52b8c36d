"""Follow one run until it ends."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from cli.client import Api, RequestRefused, Unreachable
from cli.common import InputError
from shared.api.models import Progress
from shared.domain.run import Run, Status

# A host that restarts is back within seconds; one that is gone should not hold a script for ever.
UNREACHABLE_AFTER_S = 60.0
# Each time it is several requests to the platform; on a laptop it takes time from the trainer.
METRICS_EVERY_S = 2.0
NEW_RUN_WITHIN_S = 60.0
_WITH_JOB = (Status.TRAINING, Status.EVALUATING)

PlotPoint = tuple[int, float]


@dataclass(frozen=True, slots=True)
class Update:
    """The run as seen now. `loss` is the training loss so far; `progress` that of the job under way."""

    run: Run
    loss: tuple[PlotPoint, ...] = ()
    progress: Progress | None = None
    reachable: bool = True


def follow(
    api: Api, run_id: str, *, tick_s: float = 1.0, clock: Callable[[], float] = time.monotonic
) -> Iterator[Update]:
    """Yield at once, at every change and at least every `tick_s`; the last update is of a terminal run. Raises
    Unreachable once nothing has answered for UNREACHABLE_AFTER_S, RequestRefused if there is no such run."""
    run, etag = api.run(run_id)
    update = _with_metrics(api, Update(run))
    yield update
    last_response_at = measured = clock()
    while not update.run.terminal:
        requested_at = clock()
        try:
            changed = api.changed_run(run_id, etag, wait_s=tick_s)
            if changed is not None:
                before, (run, etag) = update.run, changed
                update = replace(update, run=run, progress=None)
                # Once more after training: the end of the curve is logged after the last request.
                update, measured = _with_metrics(api, update, also=before.status), clock()
            elif clock() - measured >= METRICS_EVERY_S:
                update, measured = _with_metrics(api, update), clock()
            update, last_response_at = replace(update, reachable=True), clock()
        except Unreachable:
            if clock() - last_response_at > UNREACHABLE_AFTER_S:
                raise
            changed, update = None, replace(update, reachable=False)
        yield update
        if changed is None:
            time.sleep(max(0.0, tick_s - (clock() - requested_at)))


def _with_metrics(api: Api, update: Update, also: Status | None = None) -> Update:
    if update.run.status not in _WITH_JOB and also not in _WITH_JOB:
        return update
    try:
        metrics = api.metrics(update.run.id)
    except RequestRefused:  # the job has not logged yet; the curve is an extra, the run is what counts
        return update
    loss = tuple((step, value) for step, value in metrics.series.get("train_loss", ()) if value is not None)
    job = update.run.job
    is_under_way = update.run.status in _WITH_JOB and (job is None or metrics.job in (None, job.name))
    return replace(update, loss=loss or update.loss, progress=metrics.progress if is_under_way else None)


def next_run(api: Api, project: str, is_match: Callable[[str], bool], requested: str | None = None) -> str:
    """The newest run that `is_match` accepts; one may appear a little after its data was dropped. Raises InputError,
    and RequestRefused if the one that was asked for waits for others (`run_waits`) or never came."""
    until, waits = time.monotonic() + NEW_RUN_WITHIN_S, False
    while True:
        for run in api.runs(project, limit=10).data:
            if is_match(run.id):
                return run.id
        if not waits:
            waits = True
            print(f"waiting for a run of project {project}", file=sys.stderr)
        if time.monotonic() > until:
            if requested:
                return api.run(requested)[0].id
            raise InputError(f"no run of project {project} appeared in {NEW_RUN_WITHIN_S:.0f} s")
        time.sleep(0.5)
