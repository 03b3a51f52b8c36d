"""How long a row and how many steps a run may have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared.domain.errors import FailureClass, PermanentFailure
from training_job.job.setup import length_limit, total_steps

REINFORCEMENT = {"method": {"type": "reinforcement", "graders": [{"name": "x", "type": "regex", "pattern": "x"}]}}


def test_steps_are_those_of_the_rows_and_no_more_than_planned(resolved: Any) -> None:
    def steps(rows: int, recipe: dict[str, Any] | None = None, **settings: Any) -> int:
        return total_steps(resolved(recipe, **settings).hyperparameters, rows)

    assert [steps(rows) for rows in (1, 8, 9, 40, 400)] == [2, 4, 6, 20, 20]
    assert [steps(rows, REINFORCEMENT) for rows in (4, 7, 8)] == [2, 2, 4]


def test_a_row_a_batch_and_a_micro_batch_that_do_not_fit_are_refused_by_name(resolved: Any) -> None:
    refusals: list[tuple[Callable[[], int], str, str]] = [
        (lambda: length_limit(resolved().hyperparameters, 255), "max_length_beyond_context", "max_length_tokens"),
        (lambda: total_steps(resolved(REINFORCEMENT).hyperparameters, 3), "batch_beyond_data", "batch_size"),
        (lambda: total_steps(resolved(micro_batch_size=3).hyperparameters, 9), "batch_not_divisible", "batch_size"),
    ]
    for refused, code, setting in refusals:
        with pytest.raises(PermanentFailure) as caught:
            refused()
        assert (caught.value.failure_class, caught.value.problem.code) == (FailureClass.RECIPE, code)
        assert caught.value.problem.param == f"method.hyperparameters.{setting}"
    assert [length_limit(resolved().hyperparameters, context) for context in (None, 256)] == [256, 256]
