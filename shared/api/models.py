"""Requests and answers of `/api`. Where a domain model is the answer, the routes name it instead."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, RootModel

from shared.domain.catalog import License, LicenseDecision
from shared.domain.commands import MAX_KEY
from shared.domain.endpoint import PRICE_NOTE, EndpointRecord, ServingCosts
from shared.domain.errors import Problem, UnreadableDocument
from shared.domain.evaluation import EvaluationResult, GradedRow, SampleAnswer, Verdict
from shared.domain.jobs import JobStatus
from shared.domain.model import MAX_COMMENT, Measured, UtcTime
from shared.domain.policy import PolicyProblem
from shared.domain.run import Run
from shared.domain.subscriptions import DeliveryRecord, SubscriptionBase
from shared.domain.tokens import PreviewRow


class CheckStatus(StrEnum):
    OK = "ok"
    FIX = "fix"
    SKIPPED = "skipped"


class Check(BaseModel):
    """One check. `skipped` was not looked at, for the reason in `detail`; only `fix` asks for something to be done."""

    model_config = ConfigDict(frozen=True)

    name: str
    status: CheckStatus
    detail: str
    fix: str = Field(default="", description="what to do; empty unless the status is `fix`")

    @classmethod
    def ok(cls, name: str, detail: str) -> Self:
        return cls(name=name, status=CheckStatus.OK, detail=detail)

    @classmethod
    def to_fix(cls, name: str, detail: str, fix: str) -> Self:
        return cls(name=name, status=CheckStatus.FIX, detail=detail, fix=fix)

    @classmethod
    def skipped(cls, name: str, detail: str) -> Self:
        return cls(name=name, status=CheckStatus.SKIPPED, detail=detail)


MAX_NAME = 1024  # characters, as of a blob

Change = Literal["worse", "better", "same", "unscored"]


class ApiModel(BaseModel):
    """A request or an answer. Unknown fields are ignored, so that a client may be older than its server."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class ErrorBody(Problem):
    """`code` is stable; `message` is for people; `param` names what the error is about. Only `/v1` has `type`."""

    type: str | None = None


class ErrorAnswer(ApiModel):
    """Every answer that is no success."""

    error: ErrorBody
    problems: tuple[PolicyProblem, ...] = Field(default=(), description="each that a refused policy has, or no key")


class Health(ApiModel):
    status: Literal["ok"]
    version: str


class ServiceState(ApiModel):
    name: str
    ok: bool = Field(description="it answered within some seconds, at most ten seconds ago")
    last_success_at: datetime | None = Field(default=None, description="of this instance; null if none yet")


class Ready(ApiModel):
    ready: bool = Field(description="all services answer; with 503 some do not")
    services: tuple[ServiceState, ...]


class SchemaDocument(RootModel[dict[str, Any]]):
    """A JSON schema, draft 2020-12."""


# Runs


class StartRunRequest(ApiModel):
    """Start a run for a blob that is already in the drop zone."""

    dataset: str = Field(max_length=MAX_NAME, description="`<project>/<name>` in the drop zone")
    idempotency_key: str = Field(
        default="", max_length=MAX_KEY, description="another key for the same blob is another run"
    )


class EventAnswer(ApiModel):
    """What became of an event: `run`, or the `path` of a copy in the drop zone, is what it started."""

    id: str
    source: str
    status: Literal["accepted", "ignored", "refused"] = "accepted"
    run: str | None = None
    path: str | None = None
    reason: Problem | None = None


class EventAnswers(ApiModel):
    data: tuple[EventAnswer, ...]


class IntakeKey(ApiModel):
    url: str = Field(description="a secret: whoever has it may do in the project what an operator may")


class CommentRequest(ApiModel):
    """Why a person decides so; kept with the run."""

    comment: str = Field(default="", max_length=MAX_COMMENT)


class RunPage(ApiModel):
    """Newest first. `next` is the `after` of the following page, null at the end."""

    data: tuple[Run, ...]
    unreadable: tuple[UnreadableDocument, ...] = ()
    next: str | None


class RunReference(ApiModel):
    """The run that the request was about, or that it starts."""

    id: str


class Approved(RunReference):
    """The approval was taken."""

    missing: int = Field(description="persons who must approve beside this one")


class PromotionAccepted(RunReference):
    """It waits for approval. What the gate found when the candidate was evaluated."""

    evaluation: EvaluationResult
    verdict: Verdict


class CloudEvent(ApiModel):
    """An event about a run, as it was published. `data` depends on `type`; docs/reference/events.md lists both."""

    specversion: Literal["1.0"]
    id: str
    type: str
    source: str
    subject: str
    time: UtcTime
    datacontenttype: Literal["application/json"]
    schemaversion: int
    runid: str
    attempt: int
    revision: int
    data: dict[str, Any]


class EventList(ApiModel):
    """Oldest first."""

    data: tuple[CloudEvent, ...]
    unreadable: tuple[UnreadableDocument, ...] = ()


class Progress(ApiModel):
    """How far the training job is. `eta_s` is the seconds left."""

    step: int
    total_steps: int
    eta_s: float | None = None


class Metrics(ApiModel):
    """Curves of the run's training job: name -> points of (step, value)."""

    job: str | None = None
    series: dict[str, list[tuple[int, Measured]]] = {}
    progress: Progress | None = None


class Preview(ApiModel):
    data: tuple[PreviewRow, ...]


class RunEvaluation(ApiModel):
    """Scores, verdict and sample answers. `verdict` is null until the gate was applied."""

    result: EvaluationResult | None = None
    verdict: Verdict | None = None
    samples: tuple[SampleAnswer, ...] = ()


class EvaluationRows(ApiModel):
    """`counts`: rows by change. `next` is the `after` of the following page, null at the end."""

    data: tuple[GradedRow, ...]
    counts: dict[Change, int]
    next: int | None


# Graders


class GradersRequest(ApiModel):
    """Graders as they stand in `evaluation.graders` of a recipe."""

    graders: Annotated[list[Any], Field(min_length=1, max_length=16)]


class GradeRequest(GradersRequest):
    """One answer of a model and the row's fields; `item.answer` is the reference answer."""

    output_text: str = Field(max_length=100_000)
    item: dict[str, Any] = Field(default_factory=dict)


class SettingProblem(ApiModel):
    """What is wrong with one setting, by its path."""

    param: str
    message: str


class GraderValidation(ApiModel):
    """`fields`: the row fields that the graders read."""

    valid: bool
    problems: tuple[SettingProblem, ...]
    fields: tuple[str, ...]


class GraderFailure(ApiModel):
    """Why one grader gave no score. `code` is OpenAI's name for the error."""

    grader: str
    code: str
    message: str


class GradeResult(ApiModel):
    """`score` is null where a grader failed. `sub_scores` and `reasons` are by grader."""

    score: float | None
    sub_scores: dict[str, float]
    errors: tuple[GraderFailure, ...]
    reasons: dict[str, str]


# Datasets


class StoredFile(ApiModel):
    """A file in the drop zone."""

    path: str
    etag: str
    size_bytes: int
    run_id: str | None = Field(default=None, description="the run that it starts; null: it starts none")


# Endpoints


class EndpointCost(ApiModel):
    """What its deployments cost by list prices; null: the price of one is not known."""

    endpoint: str
    usd_per_hour: float | None = Field(description="of what is deployed now")
    usd_this_month: float | None = Field(description="so far, in UTC")


class EndpointList(ApiModel):
    """By name. `costs` has also endpoints without a model in production that cost something this month."""

    data: tuple[EndpointRecord, ...]
    costs: tuple[EndpointCost, ...] = ()
    unreadable: tuple[UnreadableDocument, ...] = ()


class EndpointDetail(EndpointRecord, EndpointCost):
    """With what its deployments cost, one by one."""

    costs: ServingCosts
    price_note: str = PRICE_NOTE


class RollbackAccepted(ApiModel):
    """The deployment that is to lose the traffic and the one that is to get it."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    endpoint: str
    from_: str = Field(alias="from")
    to: str


# Base models


class BaseModelSummary(ApiModel):
    """An entry of the catalog. `tokenizer_sha256` is null until its tokenizer is imported."""

    id: str
    terms: License
    asset: str | None
    tokenizer_sha256: str | None = None


class LastImport(ApiModel):
    """The newest import job. `problem` is why it failed, null if it did not."""

    job: str
    status: JobStatus
    studio_url: str | None = None
    problem: Problem | None = None


class BaseModelDetail(BaseModelSummary):
    """`import` is null until a first job was started. `terms_sha256`: of what a person accepts. `review_problem`: why a
    model of it is not tuned; null if it is."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    last_import: LastImport | None = Field(default=None, alias="import")
    terms_sha256: str
    decisions: tuple[LicenseDecision, ...] = ()
    review_problem: Problem | None = None


class BaseModelList(ApiModel):
    """In the catalog's order."""

    data: tuple[BaseModelSummary, ...]


class ImportStarted(ApiModel):
    """`id` is the base model's."""

    id: str
    job: str


# Operations


class DeadLetter(ApiModel):
    """A message that failed too often; its body stays on the bus."""

    id: str
    subject: str
    reason: str | None = None
    description: str | None = None
    enqueued_at: datetime
    delivery_count: int


class EntityDeadLetters(ApiModel):
    """Those of one entity: how many, and the oldest. `problem`: why they could not be looked at, else null."""

    entity: str
    count: int
    messages: tuple[DeadLetter, ...] = ()
    problem: str | None = None


class DeadLetterList(ApiModel):
    """The entities that have any, and documents that are set aside because they cannot be read."""

    data: tuple[EntityDeadLetters, ...]
    unreadable: tuple[UnreadableDocument, ...] = ()


class ReleaseRequest(ApiModel):
    """Which document that cannot be read."""

    partition: str = Field(max_length=MAX_NAME)
    id: str = Field(max_length=MAX_NAME)


class Released(ApiModel):
    """Where the document is kept. `run`: the run that stays, with what can be read of it; null for what is gone."""

    path: str
    run: str | None = None


class ReplayRequest(ApiModel):
    """Which dead letters: all of an entity, or one."""

    entity: str = Field(max_length=MAX_NAME, description="`queue` or `topic/subscription`")
    message_id: str | None = Field(default=None, max_length=MAX_NAME)


class Replayed(ApiModel):
    entity: str
    replayed: int


class Doctor(ApiModel):
    data: tuple[Check, ...]


class SubscriptionView(SubscriptionBase):
    """As readers may see it: of a target's URL the host, and no key."""

    last: DeliveryRecord | None = Field(default=None, description="the newest delivery")


class SubscriptionList(ApiModel):
    """By project and name."""

    data: tuple[SubscriptionView, ...]
    unreadable: tuple[UnreadableDocument, ...] = ()


class SubscriptionCreated(ApiModel):
    """The only answer that has both keys. `warnings`: what the target cannot check."""

    subscription: SubscriptionView
    keys: tuple[str, ...]
    warnings: tuple[str, ...] = ()


class KeyRotated(ApiModel):
    """The new key, which no other answer has. It and the newer of the two before sign each message from now on."""

    key: str


class DeliveryList(ApiModel):
    """Newest first. `next` is the `after` of the following page, null at the end."""

    data: tuple[DeliveryRecord, ...]
    next: str | None


class Redelivered(ApiModel):
    redelivered: int
