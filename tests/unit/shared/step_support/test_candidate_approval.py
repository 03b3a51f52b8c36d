"""What an approval is about, and how many are needed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from shared.domain.evaluation import Verdict
from shared.domain.policy import PlatformPolicy
from shared.domain.run import Decision, Run
from shared.step_support.candidate import approvals_missing, candidate_sha256, objection
from tests.unit.shared.support import CURATED, RESULT, VERDICT

AT = datetime(2026, 1, 2, tzinfo=UTC)


def candidate(run: Run) -> Run:
    return run.evolve(evaluation=RESULT, verdict=VERDICT, model_sha256="a", champion="run-1")


@pytest.mark.parametrize(
    "change",
    [
        {"model_sha256": "b"},
        {"champion": "run-2"},
        {"champion": None},
        {"curated": CURATED.model_copy(update={"version": "v2"})},
        {"verdict": Verdict(passed=True, checks=())},
        {"evaluation": RESULT.model_copy(update={"answers_differ": 0.5})},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_model_data_champion_or_verdict_is_another_candidate(prepared: Run, change: dict[str, Any]) -> None:
    run = candidate(prepared)
    assert candidate_sha256(run.evolve(**change)) != candidate_sha256(run)


def test_what_is_not_about_the_model_changes_no_candidate(prepared: Run) -> None:
    run = candidate(prepared)
    later = run.evolve(revision=run.revision + 1, attempt=3, updated_at=AT, cancel_requested_by="somebody")
    assert candidate_sha256(later) == candidate_sha256(run)
    assert candidate_sha256(Run.model_validate_json(run.model_dump_json())) == candidate_sha256(run), "as it is stored"


@pytest.mark.parametrize(
    ("uploaders", "approvals", "missing"),
    [(("ada",), 0, 1), (("ada", "bob"), 1, 0), (("ada",), 2, 0), (None, 0, 2), (None, 1, 1)],
)
def test_a_run_of_files_of_nobody_known_needs_two_persons(
    prepared: Run, uploaders: tuple[str, ...] | None, approvals: int, missing: int
) -> None:
    given = tuple(Decision(granted=True, by=f"p{n}", by_id=f"p{n}", at=AT) for n in range(approvals))
    run = prepared.evolve(requester_id="carol", uploader_ids=uploaders, approvals=given)
    assert approvals_missing(run, PlatformPolicy()) == missing
    fewer = PlatformPolicy(approvers=3, approvers_if_unknown=1)
    assert approvals_missing(run, fewer) == 3 - approvals, "never fewer than of a file whose uploader is known"


def test_one_person_counts_once_however_often(prepared: Run) -> None:
    twice = (Decision(granted=True, by="eve", by_id="eve", at=AT),) * 2
    run = prepared.evolve(requester_id="carol", uploader_ids=("ada",), approvals=twice)
    assert approvals_missing(run, PlatformPolicy(approvers=2)) == 1


@pytest.mark.parametrize(
    ("person", "code"),
    [
        ("carol", "self_approval"),
        ("ada", "self_approval"),
        ("bob", "self_approval"),
        ("", "unknown_person"),
        ("eve", None),
    ],
)
def test_neither_who_asked_nor_who_uploaded_a_file_approves(prepared: Run, person: str, code: str | None) -> None:
    run = candidate(prepared).evolve(requester_id="carol", uploader_ids=("ada", "bob"))
    found = objection(run, person, candidate_sha256(run), PlatformPolicy())
    assert (found.code if found else None) == code
