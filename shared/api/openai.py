"""Answers of `/v1`, in OpenAI's shapes: every field of theirs is there, null where nothing here corresponds to it."""

from typing import Any, Literal

from shared.api.models import ApiModel
from shared.domain.errors import Problem, UnreadableDocument
from shared.domain.model import Measured

FineTuningStatus = Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]


class FileObject(ApiModel):
    """An uploaded file. `created_at` is in seconds since 1970."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: Literal["fine-tune"] = "fine-tune"
    status: Literal["processed"] = "processed"
    status_details: str | None = None
    expires_at: int | None = None


class FileDeleted(ApiModel):
    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class FineTuningJob(ApiModel):
    """`trained_tokens`, `finished_at` and `fine_tuned_model` are null until the end. Times are seconds since 1970."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    finished_at: int | None
    estimated_finish: int | None
    model: str
    fine_tuned_model: str | None
    organization_id: str
    status: FineTuningStatus
    training_file: str
    validation_file: str | None
    result_files: tuple[str, ...] = ()
    trained_tokens: int | None
    seed: int
    method: dict[str, Any]
    hyperparameters: dict[str, Any]
    integrations: tuple[Any, ...] = ()
    metadata: dict[str, str] | None
    error: Problem | None


class JobEvent(ApiModel):
    """`data` is that of our own event, with its type."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message"] = "message"
    data: dict[str, Any]


class CheckpointMetrics(ApiModel):
    step: int
    train_loss: Measured
    valid_loss: Measured


class Checkpoint(ApiModel):
    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuning_job_id: str
    fine_tuned_model_checkpoint: str
    step_number: int
    metrics: CheckpointMetrics


class _List(ApiModel):
    """A page, newest first. `last_id` is the `after` of the following one. `unreadable`, not of OpenAI: left out."""

    object: Literal["list"] = "list"
    first_id: str | None
    last_id: str | None
    has_more: bool
    unreadable: tuple[UnreadableDocument, ...] = ()


class FileList(_List):
    data: tuple[FileObject, ...]


class JobList(_List):
    data: tuple[FineTuningJob, ...]


class JobEventList(_List):
    data: tuple[JobEvent, ...]


class CheckpointList(_List):
    data: tuple[Checkpoint, ...]
