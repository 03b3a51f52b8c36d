"""A dataset is validated where it can be read: small text in the function, the rest in a job."""

from __future__ import annotations

import gzip
from dataclasses import replace

import pytest

from shared.domain import paths
from shared.domain.dataset import Report
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.events import DatasetUploaded, Event, ValidationRetryDue
from shared.domain.jobs import JobSpec
from shared.domain.policy import PlatformPolicy
from shared.ports import Services
from shared.records import policies
from shared.records.blob_documents import read_model
from shared.runner import Runner
from shared.step_support.outcome import event_of
from shared.steps.validate_dataset import validate_dataset
from tests.unit.shared.support import ROW, drop
from tests.workbooks import workbook


class Refusing:
    """A platform that takes no job; it keeps what it was asked for."""

    def __init__(self) -> None:
        self.submitted: list[JobSpec] = []

    def submit(self, spec: JobSpec) -> None:
        self.submitted.append(spec)
        raise PermanentFailure(FailureClass.QUOTA, "no_quota", "none left", spec.name)


WORKBOOK = workbook({"Data": [["prompt", "completion"]]})
FILES = {
    "Parquet": (b"PAR1" + ROW, None, 1),
    "Arrow": (b"ARROW1\0\0" + ROW, None, 1),
    "an Arrow stream": (b"\xff\xff\xff\xff" + ROW, None, 1),
    "a held-out Parquet file": (ROW, b"PAR1" + ROW, 1),
    "a workbook": (WORKBOOK, None, 1),
    "a held-out workbook": (ROW, WORKBOOK, 1),
    "text": (ROW, ROW, 0),
    "a zip": (b"PK\3\4" + ROW, None, 0),
    "a gzip with as much text as the limit": (gzip.compress(b"x" * 20_000_000), None, 0),
    "a gzip with more text than the limit": (gzip.compress(b"x" * 20_000_001), None, 1),
    "a held-out gzip with more": (ROW, gzip.compress(b"x" * 20_000_001), 1),
    "a damaged gzip": (gzip.compress(ROW)[:-9], None, 0),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("train", "held_out", "jobs"), FILES.values(), ids=FILES)
def test_columns_and_much_text_are_validated_by_a_job_whatever_the_size_of_the_file(
    services: Services, runner: Runner, train: bytes, held_out: bytes | None, jobs: int
) -> None:
    if held_out is not None:
        services.blobs.write("datasets/shop/eval.jsonl", [held_out])
    run = drop(services, runner, text=train)
    assert run is not None
    platform = Refusing()
    uploaded = DatasetUploaded(path=run.dataset.path, sha256=run.dataset.sha256, size_bytes=1)
    event: Event[DatasetUploaded | ValidationRetryDue] = event_of(run, uploaded, services.clock.now())
    ports = replace(services, launcher=platform)  # type: ignore[arg-type]
    if jobs:
        with pytest.raises(PermanentFailure, match="none left"):
            validate_dataset(event, run, ports)
    else:
        validate_dataset(event, run, ports)
    assert len(platform.submitted) == jobs


FOLDERS = {
    "one": (["eval.jsonl"], None),
    "validation and test": (["test.jsonl", "validation.jsonl"], "validation.jsonl is read; test.jsonl not."),
    "three": (["test.csv", "Eval.jsonl", "dev.json"], "Eval.jsonl is read; dev.json, test.csv not."),
    "one in a folder of its own": (["eval.jsonl", "old/test.jsonl"], None),
    "notes": (["eval.jsonl", "evaluation_notes.txt"], None),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("train", [ROW, ROW * 60], ids=["rejected", "read to its end"])
@pytest.mark.parametrize(("names", "message"), FOLDERS.values(), ids=FOLDERS)
def test_held_out_files_that_are_not_read_are_named(
    services: Services, runner: Runner, names: list[str], message: str | None, train: bytes
) -> None:
    for name in names:
        services.blobs.write(f"datasets/shop/{name}", [b"These are notes." if name.endswith(".txt") else ROW])
    run = drop(services, runner, text=train)
    assert run is not None
    uploaded = DatasetUploaded(path=run.dataset.path, sha256=run.dataset.sha256, size_bytes=1)
    validate_dataset(event_of(run, uploaded, services.clock.now()), run, services)
    report = read_model(services.blobs, paths.report(run.id), Report)
    assert report is not None
    found = [problem for problem in report.problems if problem.code == "held_out_files_unread"]
    assert [problem.message.partition(": ")[2] for problem in found] == ([message] if message else [])
    assert all(problem.severity == "warning" for problem in found)


def test_of_an_unknown_base_model_the_report_has_what_the_policy_says_of_the_recipe_too(
    services: Services, runner: Runner
) -> None:
    limits = {"budget.max_usd": {"at_most": 10}, "deployment.approval": {"one_of": ["required"]}}
    policies.apply(
        services.store, PlatformPolicy.model_validate({"limits": limits}), 0, "root", "root", services.clock.now()
    )
    services.blobs.write("datasets/shop/recipe.yaml", [b"base_model: acme/gpt\nbudget: {max_usd: 11}\n"])
    run = drop(services, runner)
    assert run is not None
    uploaded = DatasetUploaded(path=run.dataset.path, sha256=run.dataset.sha256, size_bytes=1)
    outcome = validate_dataset(event_of(run, uploaded, services.clock.now()), run, services)
    assert outcome.note == "unknown_base_model, too_few_rows, policy"
    report = read_model(services.blobs, paths.report(run.id), Report)
    assert report is not None
    messages = [one.message for one in report.problems if one.code.startswith("policy")]
    assert messages == [
        "The platform's policy does not allow it. budget.max_usd: it is 11.0, the platform wants at most 10.",
        "The platform's policy sets what the recipe leaves open: deployment.approval is required: the platform wants "
        "required (policy version 1).",
    ]
