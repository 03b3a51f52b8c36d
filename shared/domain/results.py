"""`result.json`: what a job leaves when it ends. Written by jobs, read by the pipeline. And what a run costs."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from shared.domain.catalog import find_sku
from shared.domain.errors import FailureClass, Problem
from shared.domain.model import FirstItems, Frozen, Measured, Text, finite
from shared.domain.recipe import ResolvedRecipe, Tier

# Seconds of all attempts of a training run; each point of the curve has them too, for a kill may cut a file short.
SPENT_FILE, CURVE_FILE = "spent.json", "metrics.jsonl"
_SECONDS = re.compile(rb'"(?:seconds|elapsed_s)"\s*:\s*(\d+(?:\.\d+)?(?:e\+?\d+)?)')


def seconds_spent(*files: bytes) -> float:
    """The most that one of these files says, whole or cut; 0 if none says anything."""
    return max((float(found) for file in files for found in _SECONDS.findall(file)), default=0.0)


class JobMetrics(Frozen):
    """What a job counted and measured. One model for the job, its result, the run and the trained model's manifest. A
    step of an evaluation is an answered row; it and other jobs set no more than steps and seconds."""

    last_step: int = 0
    total_steps: int = 0
    seconds: float = 0.0
    processed_tokens: int = Field(default=0, description="read by the model over all epochs, without padding")
    dropped_rows: int = Field(default=0, description="longer than the recipe allows")
    truncated_rows: int = 0
    selection_rows: int = Field(default=0, description="training rows that chose the checkpoint, and were not learned")
    canaries: int = Field(default=0, description="made-up rows that were planted among those that are learned")
    first_train_loss: Measured = Field(default=None, description="of the first log line")
    train_loss: Measured = Field(default=None, description="of the last log line, in nats per trained token")
    eval_loss: Measured = Field(default=None, description="of the rows of selection, in nats per trained token")
    measures: Annotated[dict[Text, float], FirstItems] = Field(
        default_factory=dict,
        description="last finite values of what the method measures beside the loss, as `eval_reward`",
    )
    best_step: int | None = Field(default=None, description="whose checkpoint became the model")
    stopped: Literal["early", "deadline", "budget"] | None = Field(
        default=None, description="why training ended before total_steps"
    )
    micro_batch_size: int | None = None
    predicted_peak_bytes: int | None = Field(default=None, description="of tensors on one GPU, as planned")
    measured_peak_bytes: int | None = Field(default=None, description="the same as measured; null on a CPU")
    merged_agreement: Measured = Field(
        default=None, description="share of probed rows that merged model and adapter answer alike, word for word"
    )
    diagnosis: Annotated[tuple[Text, ...], FirstItems] = Field(default=(), description="the curve in plain words")

    @field_validator("measures", mode="before")
    @classmethod
    def _only_finite_measures(cls, measures: Any) -> Any:
        """JSON has no NaN: `result.json` has null in its place, or what Python's json writes."""
        if not isinstance(measures, dict):
            return measures
        return {name: value for name, value in measures.items() if finite(value) is not None}


class JobResult(Frozen):
    """The end of one job. A killed job leaves none; an interrupted one is `failed`, never `completed`."""

    job: Text
    status: Literal["completed", "failed"]
    failure_class: FailureClass | None = None
    problem: Problem | None = None
    metrics: JobMetrics = JobMetrics()
    finished_at: datetime

    @model_validator(mode="after")
    def _a_failure_says_why(self) -> Self:
        failed = self.status == "failed"
        if failed != (self.failure_class is not None) or failed != (self.problem is not None):
            raise ValueError("a failed job, and no other, has a failure_class and a problem")
        return self


@dataclass(frozen=True)
class TimeLimit:
    """Seconds of training, over all attempts, and which of the recipe's two limits they come from."""

    seconds: float
    kind: Literal["deadline", "budget"]

    @classmethod
    def of(cls, recipe: ResolvedRecipe, share: float = 1.0) -> "TimeLimit":
        """A share of the earlier of deadline and budget; a machine that costs nothing has no budget."""
        budget, sku = recipe.requested.budget, find_sku(recipe.training_instance_type)
        price = sku.price(spot=budget.tier == Tier.SPOT)
        deadline = cls(budget.deadline_hours * 3600 * share, "deadline")
        if not price:
            return deadline
        affordable = budget.max_usd / (price * budget.nodes) * 3600 * share
        return min(deadline, cls(affordable, "budget"), key=lambda limit: limit.seconds)


class CostEstimate(Frozen):
    """Range in USD for the training and evaluation jobs, from list prices in the catalog."""

    low_usd: float
    high_usd: float
    hourly_usd: float = Field(description="list price of one training machine at the chosen tier")
    low_hours: float
    high_hours: float
    actual_usd: float | None = Field(default=None, description="machine hours so far x hourly_usd")
