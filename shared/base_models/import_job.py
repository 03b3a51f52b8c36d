"""Importing a base model: a CPU job that checks its folder and exports the tokenizer bundle. Nothing of a run."""

import hashlib
import itertools
import shlex

from shared.domain.catalog import BaseModelEntry, check_license, own_base_option
from shared.domain.errors import FailureClass, PermanentFailure, Problem
from shared.domain.jobs import JobRole, JobSpec, JobStatus, JobView
from shared.domain.paths import MODELS, datastore_uri
from shared.domain.recipe import Tier
from shared.domain.results import JobResult
from shared.ports import BlobStore, Config, JobLauncher, Services
from shared.records.blob_documents import read_model

TIMEOUT_S = 3600


def start_import(entry: BaseModelEntry, services: Services) -> JobView:
    """Submit the next import job, or return the one that is under way.

    Raises PermanentFailure of class license for a model that is listed to be refused, and as JobLauncher.submit does.
    """
    if entry.asset is None:
        problem = next(check_license(entry.id, ""))
        raise PermanentFailure(FailureClass.LICENSE, problem.code, problem.message, problem.param)
    known = _jobs(entry, services.launcher)
    if known and not known[-1].status.final:
        return known[-1]
    return services.launcher.submit(import_job(entry, len(known) + 1, services.config))


def import_job(entry: BaseModelEntry, attempt: int, config: Config) -> JobSpec:
    """The job of one attempt; equal arguments give equal specs."""
    name, own = _job_name(entry, attempt), own_base_option(entry.id)
    assert entry.asset is not None
    assert entry.tokenizer is not None
    return JobSpec(
        name=name,
        command=(
            f"python -m training_job.import_base --job-name {name} --base-model {shlex.quote(entry.id)}{own} "
            "--folder ${{inputs.base_model}} --bundle ${{outputs.bundle}} --output ${{outputs.result}}"
        ),
        environment=config.training_environment,
        inputs={"base_model": entry.asset},
        outputs={"bundle": datastore_uri(entry.tokenizer.rstrip("/")), "result": datastore_uri(_result_folder(entry))},
        instance_type=config.cpu_instance_type,
        tier=Tier.DEDICATED,
        timeout_s=TIMEOUT_S,
        role=JobRole.IMPORT,
        tags={"droptune_base_model": entry.id},
    )


def last_import(entry: BaseModelEntry, launcher: JobLauncher) -> JobView | None:
    """The newest import job; None if there was none."""
    known = _jobs(entry, launcher)
    return known[-1] if known else None


def import_problem(entry: BaseModelEntry, job: JobView, blobs: BlobStore) -> Problem | None:
    """Why an import job failed, in its own words where it could still say so; None if it did not."""
    if job.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
        return None
    result = read_model(blobs, f"{_result_folder(entry)}/result.json", JobResult)
    if result is not None and result.job == job.name and result.problem is not None:
        return result.problem
    return Problem(
        code=job.error_code or job.status.value, message=job.error_message or f"the job is {job.status.value}"
    )


def _jobs(entry: BaseModelEntry, launcher: JobLauncher) -> list[JobView]:
    """A name is taken for good, so attempts are counted; there are a few in a model's life."""
    views = (launcher.get_job(_job_name(entry, attempt)) for attempt in itertools.count(1))
    return [view for view in itertools.takewhile(lambda view: view is not None, views) if view is not None]


def _job_name(entry: BaseModelEntry, attempt: int) -> str:
    """Of the model's id, which may hold what a job's name may not."""
    digest = hashlib.sha256(f"{entry.id} {entry.asset}".encode()).hexdigest()[:12]
    return f"import-{digest}-{attempt}"


def _result_folder(entry: BaseModelEntry) -> str:
    return f"{MODELS}/{entry.id}/import"
