"""Time and money end a run before the platform does."""

from __future__ import annotations

from typing import Any

import pytest

from shared.domain.planning.time_limit import TimeLimit
from training_job.job.limits import training_limit


def test_the_limit_is_the_deadline_or_what_the_budget_buys_whichever_is_earlier(resolved: Any) -> None:
    def limit(instance_type: str, **budget: Any) -> TimeLimit:
        recipe = resolved({"budget": budget})
        return training_limit(recipe.model_copy(update={"training_instance_type": instance_type}))

    assert limit("Local_CPU", deadline_hours=2, max_usd=0.01) == TimeLimit(6480, "deadline")
    a100 = "Standard_NC24ads_A100_v4"
    assert limit(a100, deadline_hours=2, max_usd=100) == TimeLimit(6480, "deadline")
    assert limit(a100, deadline_hours=12, max_usd=3.67, tier="dedicated") == TimeLimit(3240, "budget")
    spot = limit(a100, deadline_hours=12, max_usd=3.67, tier="spot")
    assert spot.kind == "budget"
    assert spot.seconds == pytest.approx(3240 * 3.67 / 0.6)
