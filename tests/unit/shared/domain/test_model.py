"""The base of all models."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from shared.domain.model import Frozen, Measured, utc


class One(Frozen):
    value: Measured = None


@pytest.mark.parametrize(
    ("given", "kept"), [(math.nan, None), (math.inf, None), (-math.inf, None), (0.0, 0.0), (1, 1.0), (None, None)]
)
def test_a_measured_number_that_json_does_not_have_is_null(given: Any, kept: float | None) -> None:
    assert One(value=given).value == kept


def test_a_model_cannot_be_changed_and_takes_no_other_field() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        One().value = 1.0  # type: ignore[misc]
    with pytest.raises(ValidationError, match="extra_forbidden"):
        One(other=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("zone", [None, UTC, timezone(timedelta(hours=14))])
def test_a_time_without_a_zone_is_of_utc_and_any_other_stays(zone: timezone | None) -> None:
    time = datetime(2026, 1, 2, 3, tzinfo=zone)
    assert utc(time) == time.replace(tzinfo=zone or UTC)
    for year in (1, 9999):
        with pytest.raises(ValueError, match="no clock shows"):
            utc(time.replace(year=year))
