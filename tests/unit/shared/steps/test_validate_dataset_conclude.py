"""What the validation job found -> status and event."""

from __future__ import annotations

import hashlib
from typing import Literal

import pytest

from shared.domain import paths
from shared.domain.dataset import CuratedVersion, DatasetRef, ProblemGroup, Report, Statistics, ValidationOutcome
from shared.domain.errors import PermanentFailure
from shared.domain.events import ValidationCompleted, ValidationFailed, ValidationPassed
from shared.domain.policy import PolicyInForce
from shared.domain.recipe import Recipe
from shared.domain.run import Run, Status
from shared.ports import Services
from shared.records.blob_documents import read_model, write_model
from shared.runner import Runner
from shared.step_support.outcome import Outcome, event_of
from shared.steps.validate_dataset import conclude_validation
from tests.unit.shared.support import drop


def problem(code: str, severity: Literal["error", "warning"], count: int) -> ProblemGroup:
    return ProblemGroup(code=code, severity=severity, file="train", count=count, rows=(1,), message="m", fix="f")


RECIPE = Recipe(base_model="droptune/tiny-llama")
PASSED = Report(
    passed=True,
    format="chat",
    eval_source="file",
    statistics=Statistics(train_rows=100, eval_rows=20, characters_max=200),
    problems=(problem("few_rows", "warning", 1),),
)
REJECTED = PASSED.model_copy(
    update={
        "passed": False,
        "problems": (
            problem("not_json", "error", 3),
            problem("empty_row", "error", 1),
            *PASSED.problems,
        ),
    }
)
CURATED = CuratedVersion(
    project="shop",
    version="f" * 64,
    source=DatasetRef(path="as the job read it", etag="", size_bytes=1, sha256="0" * 64),
    train_rows=100,
    eval_rows=20,
    characters_max=200,
)


@pytest.fixture
def run(services: Services, runner: Runner) -> Run:
    created = drop(services, runner)
    assert created is not None
    return created.evolve(status=Status.VALIDATING, attempt=2)


NONE = PolicyInForce(version=0)


def passed(run: Run) -> ValidationOutcome:
    return ValidationOutcome(report=PASSED, recipe=RECIPE, curated=CURATED, sha256=run.pinned_sha256)


def concluded(run: Run, services: Services, found: ValidationOutcome | None) -> Outcome:
    if found is not None:
        write_model(services.blobs, paths.run(run.id, "validation/outcome.json"), found)
    event = event_of(run, ValidationCompleted(job="job-1"), run.updated_at)
    return conclude_validation(event, run, services)


def test_data_that_passed_is_planned(run: Run, services: Services) -> None:
    outcome = concluded(run, services, passed(run))
    assert outcome.status is Status.VALIDATED
    assert [draft.data for draft in outcome.events] == [
        ValidationPassed(version="f" * 64, train_rows=100, eval_rows=20)
    ]
    recipe, cost, summary = outcome.changes["recipe"], outcome.changes["cost"], outcome.changes["validation"]
    assert recipe is not None
    assert recipe.requested == RECIPE
    assert cost is not None
    assert summary is not None
    assert (summary.passed, summary.errors, summary.warnings, summary.codes) == (True, 0, 1, ())
    assert outcome.changes["attempt"] == 1
    assert read_model(services.blobs, paths.run(run.id, "report.json"), Report) == PASSED.model_copy(
        update={"policy": NONE}
    )
    assert outcome.changes["policy"] == NONE


def test_the_curated_version_names_the_blob_that_the_run_pinned(run: Run, services: Services) -> None:
    outcome = concluded(run, services, passed(run))
    assert outcome.changes["curated"] == CURATED.model_copy(update={"source": run.dataset})


@pytest.mark.parametrize(
    "found",
    [
        ValidationOutcome(report=REJECTED),
        ValidationOutcome(report=REJECTED, recipe=RECIPE),
        ValidationOutcome(report=REJECTED, curated=CURATED),
    ],
    ids=["nothing but the report", "no version", "no recipe"],
)
def test_data_that_did_not_pass_is_rejected(run: Run, services: Services, found: ValidationOutcome) -> None:
    outcome = concluded(run, services, found)
    assert (outcome.status, outcome.note) == (Status.REJECTED, "not_json, empty_row")
    assert [draft.data for draft in outcome.events] == [
        ValidationFailed(codes=("not_json", "empty_row"), errors=4, report=f"/api/runs/{run.id}/report")
    ]
    summary = outcome.changes["validation"]
    assert summary is not None
    assert (summary.passed, summary.errors, summary.warnings) == (False, 4, 1)
    checked_by = NONE if found.recipe else None
    assert {**outcome.changes, "validation": None} == {"validation": None, "policy": checked_by}
    assert read_model(services.blobs, paths.run(run.id, "report.json"), Report) == REJECTED.model_copy(
        update={"policy": checked_by}
    )


def test_a_job_that_left_no_outcome_is_refused_by_name(run: Run, services: Services) -> None:
    with pytest.raises(PermanentFailure, match="no_outcome"):
        concluded(run, services, None)


def test_an_outcome_that_cannot_be_read_is_refused_by_name(run: Run, services: Services) -> None:
    services.blobs.write(paths.run(run.id, "validation/outcome.json"), [b"{}"])
    with pytest.raises(PermanentFailure, match="unreadable_document"):
        concluded(run, services, None)


def test_an_outcome_of_other_files_than_those_received_is_refused(services: Services, runner: Runner) -> None:
    for name in ("recipe.yaml", "eval.jsonl"):
        services.blobs.write(f"datasets/shop/{name}", [name.encode()])
    created = drop(services, runner)
    assert created is not None
    data, held_out, recipe = created.pinned_sha256.split(",")
    assert (held_out, recipe) == tuple(hashlib.sha256(name).hexdigest() for name in (b"eval.jsonl", b"recipe.yaml"))
    run, other = created.evolve(status=Status.VALIDATING), "0" * 64
    for read in ([other, held_out, recipe], [data, other, recipe], [data, held_out, other], [data, held_out], []):
        with pytest.raises(PermanentFailure, match="dataset_replaced"):
            concluded(run, services, passed(run).model_copy(update={"sha256": ",".join(read)}))
    assert concluded(run, services, passed(run)).status is Status.VALIDATED
