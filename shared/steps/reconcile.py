"""The timer that finds what was lost: unsent events, silent jobs, missed blobs, overdue runs, old claims."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial

from shared.domain import paths
from shared.domain.commands import InspectJob, StartRun
from shared.domain.drop_zone import is_answered
from shared.domain.errors import DroptuneError, InvalidInput
from shared.domain.events import ApprovalExpired, ApprovalReminder, EvaluationDue, RunOverdue
from shared.domain.run import PASSED_OVER, Run, Status
from shared.domain.topology import EVENT_ALLOWANCE, JOB_EVENTS, STORAGE_EVENTS
from shared.ports import BlobInfo, Services
from shared.records import claims, endpoints, policies, runs, ticks
from shared.records.ticks import Pause
from shared.step_support.loops import LoopResult, for_each, where
from shared.step_support.outcome import Draft, message_of
from shared.steps.fail_run import RELEASING, release_dataset, stop_unknown_jobs, undo_work
from shared.steps.inspect_job import IN_FLIGHT
from shared.steps.roll_back import ALLOWANCE as ROLLBACK_ALLOWANCE

WATERMARK_LAG = timedelta(minutes=10)
# How far back is looked for blobs after the clock was set back: it may have been wrong for as long.
SET_BACK_LAG = timedelta(days=2)
Note = Callable[[str, str, str | None], None]  # `Runner.note_timer`
_EPOCH = datetime.fromtimestamp(0, UTC)
AFTER_PAUSE = timedelta(minutes=10)
SCAN_PAGE = 2_000
SCAN_EVERY = timedelta(minutes=10)
OWNERLESS_CLAIM_AGE = timedelta(minutes=15)
TURN_ALLOWANCE = timedelta(minutes=15)  # to begin an evaluation: longer than what fails by a bug is delivered again
# Longer than an update of the app lasts: after it a run that only a later version can read keeps nobody waiting.
LATER_VERSION_CLAIM = timedelta(hours=1)


def inspect_silent_jobs(services: Services, last: datetime | None) -> LoopResult[bool]:
    """Ask `inspect_job` to look at jobs whose run has not changed for `job_poll_s`, once in each such period."""
    now, poll_s = services.clock.now(), services.config.job_poll_s

    def request_inspection(run: Run) -> bool:
        # Whose last change lies in the future has been silent for unknown long: the clock was set back.
        since = run.updated_at if run.updated_at <= now else _EPOCH
        period = (now - since).total_seconds() // poll_s
        looked = (last - since).total_seconds() // poll_s if last and last <= now else 0
        if not run.job or period < 1 or period <= looked:
            return False
        command = InspectJob(job=run.job.name, poll=f"{run.revision}.{int(period)}")
        services.bus.send(JOB_EVENTS, [message_of(command)])
        return True

    with_job = where(lambda run: run.status in IN_FLIGHT, runs.unfinished(services.store))
    return for_each("silent jobs", with_job, request_inspection, id_of=lambda run: run.id)


def start_missed_runs(services: Services, page_size: int = SCAN_PAGE) -> LoopResult[bool]:
    """Ask for a run of each blob in the next page of the drop zone that should have one by now and has none.

    A tick costs a page, however many blobs there are, and nothing in the minutes between two scans. When the last scan
    began bounds how far back this one looks, with a lag so that clocks may differ. See
    docs/decisions/0026-the-drop-zone-is-listed-page-by-page.md.
    """
    now = services.clock.now()
    scan = ticks.scan(services.store, now)
    if scan.cursor is None and scan.since and scan.began_at <= now < scan.began_at + SCAN_EVERY:
        return LoopResult()  # events bring new blobs; this finds the one that got lost
    since = []
    if scan.since is not None:  # a clock that was ahead dated the scan; blobs are dated by other clocks
        since.append(now - SET_BACK_LAG if scan.since > now else scan.since - WATERMARK_LAG)
    policy = policies.read(services.store).policy

    def is_due(info: BlobInfo) -> bool:
        days = policy.retention_days(info.path.split("/")[1], services.config.run_retention_days)
        # The run of an older blob may have expired.
        times = [*since, now - timedelta(days=days)] if days else since
        is_new = all(info.modified_at >= time for time in times)
        return is_new and abs(now - info.modified_at) > EVENT_ALLOWANCE and is_answered(info.path)

    def start(info: BlobInfo) -> bool:
        missed = not runs.exists(services.store, paths.run_id_of_blob(info.path, info.etag))
        if missed:
            services.bus.send(STORAGE_EVENTS, [message_of(StartRun(path=info.path, etag=info.etag))])
        return missed

    try:
        page, cursor = services.blobs.list_page(f"{paths.DATASETS}/", page_size, scan.cursor)
    except InvalidInput:  # the store does not take the cursor any more
        page, cursor = services.blobs.list_page(f"{paths.DATASETS}/", page_size)
    result = for_each("missed blobs", where(is_due, page), start, id_of=lambda info: info.path)
    ticks.record_scan(services.store, scan.after_page(cursor, bool(result.failed), now))
    return result


def next_evaluation(waiting: list[Run], services: Services) -> tuple[Run, Draft] | None:
    """Of the runs that wait at one endpoint the one whose turn it is, with the event that says so.

    A free turn is taken for it, so that it can be passed on. None while it is that of a run that does not wait.
    """
    assert waiting[0].recipe is not None
    endpoint = waiting[0].recipe.endpoint
    turn = claims.turn_claim(endpoint)
    held = claims.read(services.store, turn)
    endpoints.read(services.store, endpoint)  # raises what the evaluation would wait for
    owner = held.owner if held else claims.take(services.store, turn, waiting[0].id, services.clock.now())
    due = [run for run in waiting if run.id == owner]
    return (due[0], Draft(EvaluationDue(endpoint=endpoint))) if due else None


def overdue(run: Run, now: datetime, pauses: Iterable[Pause] = ()) -> Draft | None:
    """The event that a run's status lasts too long; an approval that was not decided on in time has expired.

    A deadline that passed while nothing was handled, or in a jump of the clock, says nothing about the run: it gets
    some minutes from then on. A pause that ends in the future was a jump that was undone. A status that began in the
    future lasts from when the clock was set back.
    """
    if run.deadline_at is None:
        return None
    set_back = [end for start, end in pauses if end < start]
    if now < run.updated_at and set_back:
        now = run.updated_at + (now - set_back[-1])
    # Of a jump back nothing says which deadlines had passed in the jumps forward before it.
    resumed = [
        end + AFTER_PAUSE for start, end in pauses if end <= now and (end < start or start < run.deadline_at <= end)
    ]
    if now < max([run.deadline_at, *resumed]):
        return None
    if run.status is Status.AWAITING_APPROVAL:
        return Draft(ApprovalExpired(deadline_at=run.deadline_at))
    return Draft(RunOverdue(status=run.status.value, deadline_at=run.deadline_at))


def reminder(run: Run, last: datetime | None, now: datetime) -> Draft | None:
    """The event that a quarter of the time for a decision is left, at the first tick from then on; `last` is the one
    before. A tick that is repeated states the same event."""
    if run.status is not Status.AWAITING_APPROVAL or run.deadline_at is None or last is None:
        return None
    due = run.deadline_at - timedelta(hours=run.resolved.requested.deployment.approval_hours) / 4
    return Draft(ApprovalReminder(deadline_at=run.deadline_at)) if last < due <= now < run.deadline_at else None


def release_claims(services: Services, note: Note) -> LoopResult[bool]:
    """Undo what finished runs left behind, then give their claims back. One that fails stays for the next tick."""
    held = claims.unsettled(services.store)
    release = partial(_release_if_finished, services, note)
    return for_each("claims", held, release, id_of=lambda claim: f"{claim.name} of {claim.owner}")


def _release_if_finished(services: Services, note: Note, claim: claims.Claim) -> bool:
    try:
        # Who reads and dies leaves its claim, whatever becomes of its run.
        run = None if claim.kind == "reading" else runs.load(services.store, claim.owner)
    except DroptuneError as error:
        if not _passes_on(claim, error, services):
            raise
        claims.release(services.store, claim.name, claim.owner)
        return True
    if run is None:
        # A run whose creation follows its claim, which is done in minutes, or a rollback that a person asked for.
        age = OWNERLESS_CLAIM_AGE + (ROLLBACK_ALLOWANCE if claim.kind == "endpoint" else timedelta(0))
        expired = abs(services.clock.now() - claim.created_at) > age
        if expired:
            claims.release(services.store, claim.name, claim.owner)
        return expired
    if claim.kind == "jobs" and (run.terminal or run.status is Status.CANCELLING):
        stop_unknown_jobs(run, services)
    elif claim.kind == "turn" and run.status in (Status.TRAINING, Status.TRAINED):
        if abs(services.clock.now() - claim.created_at) <= TURN_ALLOWANCE:
            return False
        note(run.id, PASSED_OVER, None)  # stated anew: it dates the turn
        note(run.id, PASSED_OVER, "its evaluation could not begin in its turn: those that wait come first")
    elif not run.terminal:
        return False
    if claim.kind in ("turn", "jobs"):
        claims.release(services.store, claim.name, run.id)
        return True
    endpoint = run.recipe.endpoint if run.recipe else None
    if claim.kind == "endpoint":  # a run that was repaired may not know it any more
        endpoint = claim.name.partition(":")[2]
    if run.status is not Status.DEPLOYED:
        undo_work(run, endpoint, services)
    if claim.kind == "dataset":
        release_dataset(services.store, run, services.clock.now())
        if run.status in RELEASING:  # of a run that was repaired the name may not be known any more
            claims.release(services.store, claim.name, run.id)
    elif run.status is Status.DEPLOYED or not _still_there(run.id, endpoint, services):
        claims.release(services.store, claim.name, run.id)
    else:
        return False  # the deletion takes a while; the claim keeps others away until it is gone
    return True


def _passes_on(claim: claims.Claim, error: DroptuneError, services: Services) -> bool:
    """Whether others get an endpoint or its turn from a run that cannot be read: not while its deployment is there.

    If it can be read again, it is evaluated again where another was promoted meanwhile.
    """
    is_old = abs(services.clock.now() - claim.created_at) > LATER_VERSION_CLAIM  # else a later host is at work on it
    codes = ("unreadable_document", "later_version") if is_old else ("unreadable_document",)
    passes = claim.kind in ("turn", "endpoint") and error.problem.code in codes
    return passes and not _still_there(claim.owner, claim.name.partition(":")[2], services)


def _still_there(run_id: str, endpoint: str | None, services: Services) -> bool:
    return bool(endpoint and services.models.get_deployment(endpoint, paths.deployment_name(run_id)))
