"""A dataset is validated where it can be read: small text in the function, the rest in a job."""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import Any

import pytest

from shared.domain import paths
from shared.domain.dataset import Report
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.events import DatasetUploaded, Event, ValidationRetryDue
from shared.domain.jobs import JobSpec
from shared.domain.policy import PlatformPolicy
from shared.domain.run import Run
from shared.ports import Services
from shared.records import policies
from shared.records.blob_documents import read_model
from shared.runner import Runner
from shared.step_support.dataset_files import require_same_files
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
    report = read_model(services.blobs, paths.run(run.id, "report.json"), Report)
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
    report = read_model(services.blobs, paths.run(run.id, "report.json"), Report)
    assert report is not None
    messages = [one.message for one in report.problems if one.code.startswith("policy")]
    assert messages == [
        "The platform's policy does not allow it. budget.max_usd: it is 11.0, the platform wants at most 10.",
        "The platform's policy sets what the recipe leaves open: deployment.approval is required: the platform wants "
        "required (policy version 1).",
    ]


RECIPE, HELD_OUT = b"base_model: droptune/tiny-llama\n", ROW.replace(b'"a"', b'"c"') * 30
BEFORE = {"recipe.yaml": RECIPE, "eval.jsonl": HELD_OUT}
# The project's files when a run is received, and what somebody writes (None: deletes) before they are read.
CHANGES: dict[str, tuple[dict[str, bytes], dict[str, bytes | None]]] = {
    "the recipe replaced": (BEFORE, {"recipe.yaml": b"evaluation: {gate: {min_rows: 2}}\n"}),
    "the held-out rows replaced": (BEFORE, {"eval.jsonl": HELD_OUT * 2}),
    "both": (BEFORE, {"eval.jsonl": HELD_OUT * 2, "recipe.yaml": b"{}\n"}),
    "the recipe deleted": (BEFORE, {"recipe.yaml": None}),
    "the held-out rows deleted": (BEFORE, {"eval.jsonl": None}),
    "a recipe added": ({}, {"recipe.yaml": RECIPE}),
    "a second recipe": (BEFORE, {"recipe.yml": RECIPE}),
    "a recipe in the data's own folder": (BEFORE, {"march/recipe.yaml": RECIPE}),
    "held-out rows added": ({"recipe.yaml": RECIPE}, {"eval.jsonl": HELD_OUT}),
    "held-out rows that come first": ({"test.jsonl": HELD_OUT}, {"eval.jsonl": HELD_OUT}),
    "the recipe by another name": (BEFORE, {"recipe.yaml": None, "recipe.yml": RECIPE}),
    "the data replaced": (BEFORE, {"march/train.jsonl": HELD_OUT * 4}),
    "the data deleted": (BEFORE, {"march/train.jsonl": None}),
}
SAME_CONTENT = {
    "held-out rows that come first",
    "the recipe by another name",
    "a recipe in the data's own folder",
}


def validating_received(
    before: dict[str, bytes], services: Services, runner: Runner, *, earlier: bool = False
) -> tuple[Run, Event[DatasetUploaded | ValidationRetryDue]]:
    """A run that was received beside these files, by an earlier version or by this one."""
    for name, text in before.items():
        services.blobs.write(f"datasets/shop/{name}", [text])
    run = drop(services, runner, "datasets/shop/march/train.jsonl")
    assert run is not None
    uploaded = DatasetUploaded(path=run.dataset.path, sha256=run.dataset.sha256, size_bytes=1)
    return run.evolve(beside=None) if earlier else run, event_of(run, uploaded, services.clock.now())


def write(changes: dict[str, bytes | None], services: Services) -> None:
    for name, text in changes.items():
        if text is None:
            services.blobs.delete(f"datasets/shop/{name}")
        else:
            services.blobs.write(f"datasets/shop/{name}", [text])


@pytest.mark.parametrize("inline_bytes", [20_000_000, 1], ids=["function", "job"])
@pytest.mark.parametrize("earlier", [False, True], ids=["", "earlier version"])
def test_files_other_than_those_received_end_the_run_before_it_costs(
    services: Services, runner: Runner, inline_bytes: int, earlier: bool
) -> None:
    for number, (case, (before, changes)) in enumerate(CHANGES.items()):
        for info in list(services.blobs.list("datasets/")):
            services.blobs.delete(info.path)
        platform = Refusing()
        config = replace(services.config, inline_validation_max_bytes=inline_bytes)
        ports = replace(services, launcher=platform, config=config)  # type: ignore[arg-type]
        run, event = validating_received(before, services, runner, earlier=earlier)
        data = b"".join(services.blobs.read(run.dataset.path))
        # A hash of contents is all that an earlier version kept.
        if earlier and case in SAME_CONTENT:
            continue
        write({**before, "march/train.jsonl": data}, services)
        assert require_same_files(run, ports).pinned_sha256.split(",")[0] == run.dataset.sha256, "the same, again"
        write(changes, services)
        with pytest.raises(PermanentFailure) as refused:
            validate_dataset(event, run, ports)
        assert (case, refused.value.problem.code) == (case, "dataset_replaced")
        assert refused.value.failure_class is FailureClass.DATA
        assert (number, platform.submitted) == (number, [])


@pytest.mark.parametrize("name", ["recipe.yaml", "eval.jsonl", "march/train.jsonl"])
@pytest.mark.parametrize("inline_bytes", [20_000_000, 1], ids=["function", "job"])
def test_a_file_replaced_after_it_was_looked_for_is_not_read(
    services: Services, runner: Runner, monkeypatch: pytest.MonkeyPatch, name: str, inline_bytes: int
) -> None:
    run, event = validating_received(BEFORE, services, runner)
    platform, read = Refusing(), services.blobs.read

    def replacing(path: str, **options: Any) -> Any:
        if path.endswith(name):
            monkeypatch.undo()
            services.blobs.write(path, [b"other\n"])
        return read(path, **options)

    monkeypatch.setattr(services.blobs, "read", replacing)
    config = replace(services.config, inline_validation_max_bytes=inline_bytes)
    ports = replace(services, launcher=platform, config=config)  # type: ignore[arg-type]
    if inline_bytes == 1 and name != "recipe.yaml":
        with pytest.raises(PermanentFailure, match="no_quota"):  # the job hashes what it reads
            validate_dataset(event, run, ports)
        assert f"--sha256 {run.pinned_sha256} " in platform.submitted[0].command
        return
    with pytest.raises(PermanentFailure, match="dataset_replaced"):
        validate_dataset(event, run, ports)
    assert platform.submitted == []


def test_a_run_keeps_the_default_base_model_of_its_receipt(services: Services, runner: Runner) -> None:
    run, event = validating_received({}, services, runner)
    config = replace(services.config, default_base_model="acme/gpt", inline_validation_max_bytes=1)
    platform = Refusing()
    with pytest.raises(PermanentFailure, match="no_quota"):
        validate_dataset(event, run, replace(services, launcher=platform, config=config))  # type: ignore[arg-type]
    assert "--default-base-model droptune/tiny-llama " in platform.submitted[0].command
