"""Names of jobs, runs and places."""

from __future__ import annotations

import pytest

from shared.domain import paths
from shared.domain.jobs import JobKind
from shared.ports import Services
from shared.runner import Runner
from tests.unit.shared.support import drop


@pytest.mark.parametrize(
    ("job", "run"),
    [
        ("run-0123456789ab-training-1", "run-0123456789ab"),
        ("run-0123456789ab-evaluating-12", "run-0123456789ab"),
        ("run-0123456789ab-training-x", None),
        ("run-0123456789ab", None),
        ("import-0123456789ab-1", None),
        ("", None),
    ],
)
def test_the_run_of_a_job_is_read_from_its_name(job: str, run: str | None) -> None:
    assert paths.run_id_of_job(job) == run


def test_names_of_a_run_are_its_own(services: Services, runner: Runner) -> None:
    run = drop(services, runner)
    assert run is not None
    assert paths.run_id_of_job(paths.job_name(run, JobKind.TRAINING)) == run.id
    assert paths.deployment_name(run.id) == f"d-{paths.model_version(run)}"
    assert f"run-{paths.model_version(run)}" == run.id


def test_a_version_of_a_blob_is_one_run_and_another_version_or_key_is_another() -> None:
    versions = [("a/b", "1", ""), ("a/b", "2", ""), ("a/c", "1", ""), ("a/b", "1", "again")]
    assert paths.run_id_of_blob("a/b", "1") == paths.run_id_of_blob("a/b", "1")
    assert len({paths.run_id_of_blob(*version) for version in versions}) == 4


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("runs/run-1/model", "azureml://datastores/runs/paths/run-1/model"),
        (paths.run("run-1", "report.json"), "azureml://datastores/runs/paths/run-1/report.json"),
        (paths.run("run-1"), "azureml://datastores/runs/paths/run-1"),
    ],
)
def test_a_place_has_a_uri_for_jobs(path: str, uri: str) -> None:
    assert paths.datastore_uri(path) == uri
