"""A run is cancelled in each status it can be in; a ledger shows that no job, deployment or claim is left of it.

To hold a run in a status, the function that would move it on is disabled, as an app setting does it in Azure; jobs
train nothing and wait where they are to be cancelled (`stub_jobs`).
`training` with its job queued and running, `evaluating`, `awaiting_approval` and `deploying`: see test_unhappy_paths.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from shared.domain.events import CancelRequested, Event
from shared.domain.paths import run_id_of_blob
from shared.embedded.blobs import FileBlobStore
from tests.stack import stub_image
from tests.stack.local import LocalStack, rows, statuses, until
from tests.stack.scenarios import QUICK, Run, assert_nothing_is_left, cancelled, drop, ended, job_runs, jobs_of, seen

pytestmark = [pytest.mark.slow, pytest.mark.stack, pytest.mark.timeout(900)]

# The whole training file is larger, the part of it that `drop` takes is not.
MAX_INLINE_BYTES = 100_000


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    settings = {"INLINE_VALIDATION_MAX_BYTES": str(MAX_INLINE_BYTES), "JOB_POLL_S": "3"}
    root = tmp_path_factory.mktemp("cancels") / "stack"
    stub_image.install(root)
    running = LocalStack(root, settings)
    yield running
    running.down()


@pytest.fixture(scope="module")
def ends(local: LocalStack) -> dict[str, Run]:
    """The cancelled run of each project, which is named after the status it was cancelled in."""
    found = {"unborn": _cancelled_before_it_exists(local)}

    local.disable("validate_dataset")
    drop(local, "received")
    found["received"] = cancelled(local, seen(local, "received", "received"))

    local.disable("submit_training")
    drop(local, "validated")
    found["validated"] = cancelled(local, seen(local, "validated", "validated"))
    local.drop_project("validating", rows("train.jsonl"), rows("eval.jsonl"), use_case="hold validation-1")
    run = seen(local, "validating", "validating")
    job_runs(local, run, "validation-1")
    found["validating"] = cancelled(local, run)

    local.disable("inspect_job")
    drop(local, "cancelling", "hold training-1")
    run = seen(local, "cancelling", "training")
    job_runs(local, run, "training-1")
    run = cancelled(local, run, "cancelling")
    _cancel_again_in_vain(local, run)

    local.disable("deploy_model")
    found["cancelling"] = ended(local, run, "cancelled")
    drop(local, "approved", approval="automatic")
    drop(local, "rolling-back", approval="automatic")
    found["approved"] = cancelled(local, seen(local, "approved", "approved"))
    run = seen(local, "rolling-back", "approved")

    local.disable("advance_rollout")
    run = cancelled(local, seen(local, "rolling-back", "deploying"), "rolling_back")
    _cancel_again_in_vain(local, run)
    local.disable()
    found["rolling-back"] = ended(local, run, "rolled_back")
    return found


def _cancelled_before_it_exists(local: LocalStack) -> Run:
    """The request overtakes the event that makes the run, whose id follows from the blob's path and etag."""
    local.disable("receive_dataset")
    local.drop_project("unborn", rows("train.jsonl")[:64], rows("eval.jsonl")[:16], **QUICK)
    dropped = FileBlobStore(local.root / "blobs").info("datasets/unborn/train.jsonl")
    assert dropped is not None
    run_id = run_id_of_blob(dropped.path, dropped.etag)
    requested = CancelRequested(by="somebody ahead of time")
    cancel_request = Event[CancelRequested](
        data=requested, run_id=run_id, project="unborn", attempt=1, revision=1, time=datetime.now(UTC)
    )
    local.publish([cancel_request.to_cloudevent()])
    until(lambda: f"{cancel_request.id}^1" in local.waiting("cancel_run"), "it waits as one that came too early")
    assert local.runs("unborn") == []
    local.disable()
    return ended(local, seen(local, "unborn", "received"), "cancelled")


def _cancel_again_in_vain(local: LocalStack, run: Run) -> None:
    """A second request finds the run on its way already."""
    local.post(f"/api/runs/{run['id']}/cancel")
    until(lambda: not local.waiting("cancel_run"), "the second request was handled")
    assert local.run(run["id"]) == run


PASSED = {
    "unborn": [],
    "received": ["received"],
    "validating": ["received", "validating", "cancelling"],
    "validated": ["received", "validated"],
    "cancelling": ["received", "validated", "training", "cancelling"],
    "approved": ["received", "validated", "training", "evaluating", "approved"],
    "rolling-back": ["received", "validated", "training", "evaluating", "approved", "deploying", "rolling_back"],
}
JOBS = {
    "validating": {"validation-1": "Canceled"},
    "cancelling": {"training-1": "Canceled"},
    "approved": {"training-1": "Completed", "evaluation-1": "Completed"},
    "rolling-back": {"training-1": "Completed", "evaluation-1": "Completed"},
}


@pytest.mark.parametrize("status", PASSED)
def test_a_run_cancelled_in_this_status_leaves_nothing_behind(
    status: str, local: LocalStack, ends: dict[str, Run]
) -> None:
    run = ends[status]
    *passed, end = statuses(run)
    assert end == run["status"] == ("rolled_back" if status == "rolling-back" else "cancelled")
    if status != "unborn":  # how far it came before its request was due again is chance
        assert passed == PASSED[status]
        assert jobs_of(local, run) == JOBS.get(status, {})
    assert run["cancel_requested_by"] == ("somebody ahead of time" if status == "unborn" else "local")
    assert_nothing_is_left(local, run)


def test_the_ledger_of_all_cancelled_runs_is_empty(local: LocalStack, ends: dict[str, Run]) -> None:
    for status, run in ends.items():
        jobs = jobs_of(local, run)
        print(f"{status:<14} {' > '.join(statuses(run))}; jobs {jobs}; claims {local.claims(owner=run['id'])}")
    assert [job["name"] for job in local.jobs() if job["status"] not in ("Completed", "Failed", "Canceled")] == []
    assert local.claims(settled=0) == []
