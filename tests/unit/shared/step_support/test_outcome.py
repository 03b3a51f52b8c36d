"""What a step hands back can only be right, and stays as it was."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest
from pydantic import ValidationError

from shared.domain.run import Run, RunChanges, Status
from shared.step_support.outcome import Outcome

SET_BY_THE_RUNNER = {"status", "revision", "updated_at", "deadline_at", "history", "attention"}
SET_AT_CREATION = {
    "id",
    "project",
    "created_at",
    "dataset",
    "fingerprint",
    "duplicate_of",
    "parent_run",
    "requested_by",
    "requester_id",
    "known_uploader_ids",
    "uploader_ids",
    "beside",
    "retention_days",
}


@pytest.mark.parametrize(
    "changes",
    [{"attemps": 2}, {"attempt": "2"}, {"champion": 7}, {"rollout": {"endpoint": "shop"}}, {"status": Status.FAILED}],
    ids=str,
)
def test_an_outcome_with_a_wrong_change_cannot_be_built(changes: Any) -> None:
    with pytest.raises(ValidationError):
        Outcome(Status.VALIDATED, changes)
    with pytest.raises(ValidationError):
        Outcome(Status.VALIDATED).with_changes(**changes)


def test_an_outcome_cannot_be_edited() -> None:
    given = RunChanges(attempt=2)
    outcome = Outcome(Status.VALIDATED, given)
    with pytest.raises(TypeError):
        outcome.changes["attempt"] = 3
    given["attempt"] = 4
    assert outcome.changes["attempt"] == 2


def test_more_changes_make_another_outcome() -> None:
    outcome = Outcome(Status.VALIDATED, {"attempt": 2}, note="first")
    more = outcome.with_changes(champion="run-1")
    assert (dict(more.changes), more.status, more.note) == (
        {"attempt": 2, "champion": "run-1"},
        Status.VALIDATED,
        "first",
    )
    assert dict(outcome.changes) == {"attempt": 2}


def test_what_a_step_may_change_has_the_types_of_the_runs_fields() -> None:
    changes, fields = get_type_hints(RunChanges), get_type_hints(Run)
    assert changes == {name: fields[name] for name in changes}
    assert set(Run.model_fields) == set(changes) | SET_BY_THE_RUNNER | SET_AT_CREATION
