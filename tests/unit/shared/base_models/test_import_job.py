"""The job that imports a base model, and why one failed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.base_models.import_job import import_job, import_problem, start_import
from shared.domain.catalog import CATALOG, find_entry
from shared.domain.errors import FailureClass, PermanentFailure, Problem
from shared.domain.jobs import JobStatus, JobView
from shared.domain.results import JobResult
from shared.ports import Services
from shared.records.blob_documents import write_model

PHI = find_entry("microsoft/Phi-4")


def test_an_attempt_is_one_job_and_the_next_is_another(services: Services) -> None:
    first = import_job(PHI, 1, services.config)
    assert import_job(PHI, 1, services.config) == first
    others = [find_entry("droptune/tiny-llama"), find_entry("meta-llama/Llama-3.1-8B-Instruct")]
    assert len({import_job(entry, n, services.config).name for entry in (PHI, *others) for n in (1, 2)}) == 6
    assert first.outputs["bundle"] == "azureml://datastores/models/paths/microsoft/Phi-4/tokenizer"
    assert f"--base-model {PHI.id} " in first.command


@pytest.mark.parametrize("id", ["Qwen/Qwen2.5-3B-Instruct", "mistralai/Codestral-22B-v0.1"])
def test_a_model_that_may_not_be_tuned_is_refused_before_anything_is_asked(services: Services, id: str) -> None:
    with pytest.raises(PermanentFailure) as refused:
        start_import(CATALOG[id], services)
    assert refused.value.failure_class is FailureClass.LICENSE


UNFIT = Problem(code="base_model_unfit", message="no")


@pytest.mark.parametrize(
    ("status", "job", "code", "expected"),
    [
        (JobStatus.COMPLETED, "import-1", None, None),
        (JobStatus.RUNNING, "import-1", None, None),
        (JobStatus.FAILED, "import-1", "UserError", "base_model_unfit"),
        (JobStatus.FAILED, "import-2", "UserError", "UserError"),  # what it left is another job's
        (JobStatus.FAILED, None, "UserError", "UserError"),
        (JobStatus.CANCELLED, None, None, "cancelled"),
    ],
)
def test_a_job_that_failed_says_why_in_its_own_words_where_it_could(
    services: Services, status: JobStatus, job: str | None, code: str | None, expected: str | None
) -> None:
    if job:
        result = JobResult(
            job=job,
            status="failed",
            failure_class=FailureClass.RECIPE,
            problem=UNFIT,
            finished_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        write_model(services.blobs, "models/microsoft/Phi-4/import/result.json", result)
    problem = import_problem(PHI, JobView(name="import-1", status=status, error_code=code), services.blobs)
    assert (problem and problem.code) == expected
