"""What the tests of unhappy paths share: a recipe that makes jobs short, and looking at how a run is doing."""

from __future__ import annotations

from typing import Any

from tests.stack.local import LocalStack, rows, statuses, until

Run = dict[str, Any]

# Sixty-four rows teach the plant's words, not its tables; the gate of these scenarios asks for no more.
QUICK: dict[str, Any] = {
    "method": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}},
    "evaluation": {
        # What the base never writes, and what it learns to within 32 steps.
        "graders": [{"name": "size", "type": "regex", "pattern": " mm"}],
        "max_new_tokens": 32,
        "gate": {"min_score": 0.0, "min_gain": 0.0, "max_regression": 1.0, "min_rows": 2},
    },
}

# The same for a model that is never good enough.
FAILS_GATE = {
    **QUICK,
    "evaluation": {
        **QUICK["evaluation"],
        "graders": [{"name": "never", "type": "regex", "pattern": "words that no model was taught"}],
        "gate": {"min_score": 0.5, "min_rows": 2},
    },
}


def drop(local: LocalStack, project: str, use_case: str = "", **deployment: Any) -> None:
    changes = {**QUICK, "use_case": use_case, "deployment": {"approval": "required", **deployment}}
    local.drop_project(project, rows("train.jsonl")[:64], rows("eval.jsonl")[:16], **changes)


def seen(local: LocalStack, project: str, status: str) -> Run:
    """The project's run as it passes through a status."""

    def check() -> Run | None:
        found = local.runs(project)
        assert not found or status in statuses(found[0]) or found[0]["error"] is None, found[0]["error"]
        return found[0] if found and status in statuses(found[0]) else None

    return until(check, f"{project} is {status}", within_s=600)


def ended(local: LocalStack, run: Run, *ends: str) -> Run:
    def check() -> Run | None:
        now = local.run(run["id"])
        return now if now["status"] in ends else None

    return until(check, f"{run['project']} ends {ends}", within_s=600)


def cancelled(local: LocalStack, run: Run, end: str = "cancelled") -> Run:
    local.post(f"/api/runs/{run['id']}/cancel")
    return ended(local, run, end)


def job_runs(local: LocalStack, run: Run, job: str) -> str:
    name = f"{run['id']}-{job}"
    until(lambda: local.job_status(name) == "Running", f"{name} runs", within_s=600)
    return name


def jobs_of(local: LocalStack, run: Run) -> dict[str, str]:
    """Stage and attempt -> how the platform says it ended."""
    names = {job["name"]: job["status"] for job in local.jobs()}
    return {name.removeprefix(f"{run['id']}-"): status for name, status in names.items() if run["id"] in name}


def assert_nothing_is_left(local: LocalStack, run: Run) -> None:
    """No job, deployment or claim of a run that was cancelled, and no job that began after it had ended."""
    jobs = {job["name"] for job in local.jobs() if job["name"].startswith(run["id"])}
    assert jobs <= {job["name"] for job in run["jobs"]}
    until(lambda: not local.live_jobs(run["id"]), "its jobs have ended")
    until(lambda: not local.claims_of(run["id"]), "its claims are given back")
    if run["rollout"] is not None:
        until(lambda: not local.deployments(run["rollout"]["endpoint"]), "its deployment is gone")
        assert local.traffic(run["rollout"]["endpoint"]) == {}
