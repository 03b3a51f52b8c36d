"""`result.json`: what a job says about itself when it ends. Written by jobs, read by the pipeline."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.domain.errors import FailureClass, Problem


class JobResult(BaseModel):
    """The end of one job. A killed job leaves none; an interrupted one is `failed`, never `completed`.

    Losses are in nats per trained token. `trained_tokens` counts all tokens the model was fed over all
    epochs, prompts included and padding not. `dropped_rows` were longer than the recipe allows. `measures`: last
    values of what the method watches beside the loss, for example `reward` and `eval_reward`. `best_step`: whose
    checkpoint became the model; `stopped`: why training ended before `total_steps`. Peaks are of tensors on one GPU,
    as planned for `micro_batch_size` and as measured; a CPU's is not compared. `merged_agreement`: share of probed
    rows that the merged model answers as the adapter does, word for word. `diagnosis`: the curve in plain words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: str
    status: Literal["completed", "failed"]
    failure_class: FailureClass | None = None
    problem: Problem | None = None
    last_step: int = 0
    total_steps: int = 0
    trained_tokens: int = 0
    dropped_rows: int = 0
    train_loss: float | None = None
    eval_loss: float | None = None
    measures: dict[str, float] = Field(default_factory=dict)
    best_step: int | None = None
    stopped: Literal["early", "deadline", "budget"] | None = None
    micro_batch_size: int | None = None
    predicted_peak_bytes: int | None = None
    measured_peak_bytes: int | None = None
    merged_agreement: float | None = None
    diagnosis: tuple[str, ...] = ()
    seconds: float
    finished_at: datetime

    @model_validator(mode="after")
    def _a_failure_says_why(self) -> Self:
        failed = self.status == "failed"
        if failed != (self.failure_class is not None) or failed != (self.problem is not None):
            raise ValueError("a failed job, and no other, has a failure_class and a problem")
        return self
