"""What a run costs: estimated before it is submitted, counted as it goes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class CostEstimate(BaseModel):
    """Range in USD for the training and evaluation jobs, from list prices in the catalog."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low_usd: float
    high_usd: float
    hourly_usd: float = Field(description="list price of one training machine at the chosen tier")
    low_hours: float
    high_hours: float
    actual_usd: float | None = Field(default=None, description="machine hours so far x hourly_usd")
