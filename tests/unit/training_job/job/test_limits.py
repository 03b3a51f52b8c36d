"""Time and money end a run before the platform does."""

from __future__ import annotations

from typing import Any

from shared.domain.planning.time_limit import TimeLimit
from training_job.job.limits import training_limit


def test_a_tenth_of_the_limit_is_left_for_what_follows_training(resolved: Any) -> None:
    assert training_limit(resolved({"budget": {"deadline_hours": 2}})) == TimeLimit(6480, "deadline")
