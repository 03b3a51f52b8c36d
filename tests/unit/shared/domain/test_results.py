"""The result of a job."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from shared.domain.errors import FailureClass, Problem
from shared.domain.results import JobMetrics, JobResult

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROBLEM = Problem(code="x", message="y")


def test_measures_that_are_no_numbers_of_json_are_left_out() -> None:
    metrics = JobMetrics(measures={"a": 1.0, "b": math.nan, "c": math.inf, "d": None}, eval_loss=math.nan)
    assert (metrics.measures, metrics.eval_loss) == ({"a": 1.0}, None)


@pytest.mark.parametrize(
    ("fields", "is_valid"),
    [
        ({"status": "completed"}, True),
        ({"status": "failed", "failure_class": FailureClass.DATA, "problem": PROBLEM}, True),
        ({"status": "failed"}, False),
        ({"status": "failed", "problem": PROBLEM}, False),
        ({"status": "failed", "failure_class": FailureClass.DATA}, False),
        ({"status": "completed", "problem": PROBLEM}, False),
        ({"status": "completed", "failure_class": FailureClass.DATA, "problem": PROBLEM}, False),
        ({"status": "stopped"}, False),
    ],
)
def test_a_failed_job_and_no_other_says_why(fields: dict[str, Any], is_valid: bool) -> None:
    if is_valid:
        assert JobResult(job="j", finished_at=NOW, **fields).status == fields["status"]
    else:
        with pytest.raises(ValidationError):
            JobResult(job="j", finished_at=NOW, **fields)
