"""What a run costs: estimated before it is submitted, counted as it goes."""

from pydantic import Field

from shared.domain.model import Frozen


class CostEstimate(Frozen):
    """Range in USD for the training and evaluation jobs, from list prices in the catalog."""

    low_usd: float
    high_usd: float
    hourly_usd: float = Field(description="list price of one training machine at the chosen tier")
    low_hours: float
    high_hours: float
    actual_usd: float | None = Field(default=None, description="machine hours so far x hourly_usd")
