"""`/v1/fine_tuning/jobs`: a job is a run of the project its suffix names.

What it may ask for, and the recipe that says the same, come first.
"""

import hashlib
import logging
import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, Literal

import yaml
from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from functions.http.auth import Access, Caller, CurrentRunner, CurrentServices, Operator, Reader
from functions.http.errors import ApiError, existing
from functions.http.openai import files
from functions.http.openai.shapes import checkpoints_of, events_of, job_object, page, require_cursor
from functions.http.runs import order_cancel, order_run
from shared.api.openai import CheckpointList, FineTuningJob, JobEventList, JobList
from shared.domain import paths
from shared.domain.catalog import check_license, known_entry
from shared.domain.commands import MAX_KEY
from shared.domain.drop_zone import MAX_RECIPE_BYTES, RECIPE_NAME
from shared.domain.errors import StoreConflict, Transient, UnreadableDocument
from shared.domain.findings import Findings
from shared.domain.planning.methods import default_learning_rate
from shared.domain.recipe import AUTO, Auto, Name, Recipe
from shared.grading.engine import problems
from shared.ports import BlobInfo, Services, Stored
from shared.records import api_objects, claims, runs, uploads
from shared.records.api_objects import File, Job, tag_of
from shared.records.document import unreadable_as
from shared.step_support.dataset_files import recipe_file
from shared.validation.recipes import read_recipe
from shared.validation.setting_errors import setting_errors

log = logging.getLogger(__name__)

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["openai"])

PageLimit = Annotated[int, Query(ge=1, le=100)]
# openai-python: two retries within seconds, each after a wait for an answer of at most ten minutes.
REPEATED_WITHIN = timedelta(minutes=30)
DEFAULT_PROJECT = "fine-tuning"
USE_CASE, INTENDED_USES = "use_case", "intended_uses"


class RequestPart(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SupervisedHyperparameters(RequestPart):
    n_epochs: int | Auto = AUTO
    batch_size: int | Auto = AUTO
    learning_rate_multiplier: Annotated[float, Field(gt=0)] | Auto = AUTO


class DpoHyperparameters(SupervisedHyperparameters):
    beta: float | Auto = AUTO


class ReinforcementJobHyperparameters(SupervisedHyperparameters):
    """The last four have no counterpart here: only what leaves them to the service is taken."""

    compute_multiplier: Auto = AUTO
    eval_interval: Auto = AUTO
    eval_samples: Auto = AUTO
    reasoning_effort: Literal["default"] = "default"


class SupervisedMethod(RequestPart):
    hyperparameters: SupervisedHyperparameters = SupervisedHyperparameters()


class DpoMethod(RequestPart):
    hyperparameters: DpoHyperparameters = DpoHyperparameters()


class ReinforcementMethod(RequestPart):
    grader: dict[str, Any]
    hyperparameters: ReinforcementJobHyperparameters = ReinforcementJobHyperparameters()


class MethodBlock(RequestPart):
    """`type`, and a block of the same name."""

    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: SupervisedMethod | None = None
    dpo: DpoMethod | None = None
    reinforcement: ReinforcementMethod | None = None

    @model_validator(mode="after")
    def _only_its_own_block(self) -> "MethodBlock":
        others = {"supervised", "dpo", "reinforcement"} - {self.type}
        given = sorted(name for name in others if getattr(self, name) is not None)
        if given:
            raise ValueError(f"the method is {self.type}, and {given[0]} is given")
        if self.type == "reinforcement" and self.reinforcement is None:
            raise ValueError("a reinforcement method needs reinforcement.grader")
        self.supervised = self.supervised or (SupervisedMethod() if self.type == "supervised" else None)
        self.dpo = self.dpo or (DpoMethod() if self.type == "dpo" else None)
        return self


class JobRequest(RequestPart):
    """OpenAI's `fine_tuning.jobs.create`. `hyperparameters` is its older place for those of a supervised job."""

    model: str = Field(max_length=MAX_KEY)
    training_file: str = Field(max_length=MAX_KEY)
    validation_file: str | None = Field(default=None, max_length=MAX_KEY)
    method: MethodBlock | None = None
    hyperparameters: SupervisedHyperparameters | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    suffix: Name | None = None
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None = Field(
        default=None, max_length=16
    )
    integrations: Annotated[list[Any], Field(max_length=0)] | None = None

    @model_validator(mode="after")
    def _hyperparameters_once(self) -> "JobRequest":
        if self.hyperparameters is not None and self.method is not None:
            raise ValueError("hyperparameters belong into method, and only there")
        return self

    @property
    def project(self) -> str:
        return self.suffix or DEFAULT_PROJECT

    @property
    def chosen(self) -> MethodBlock:
        """The method with its block, whichever way it was asked for."""
        block = SupervisedMethod(hyperparameters=self.hyperparameters or SupervisedHyperparameters())
        return self.method or MethodBlock(type="supervised", supervised=block)


def recipe_of(request: JobRequest, project_recipe: Recipe | None) -> Recipe:
    """The project's recipe with what the job asks for: model, method and seed.

    Gate, approval, deployment and budget stay the project's: a client of this API changes none of them.
    Raises ApiError 400.
    """
    entry = known_entry(request.model)
    if entry is None:
        raise ApiError(400, "model_not_found", f"{request.model} is not in the catalog of base models", "model")
    method = request.chosen
    block = getattr(method, method.type)
    chosen = block.hyperparameters.model_dump(include={"n_epochs", "batch_size", "beta"})
    given = {name: value for name, value in chosen.items() if value != AUTO}
    if request.seed is not None:
        given["seed"] = request.seed
    method_block: dict[str, Any] = {"type": method.type, "hyperparameters": given}
    if isinstance(block, ReinforcementMethod):
        method_block["graders"] = [block.grader]
    own = project_recipe.model_dump(mode="json", exclude_unset=True) if project_recipe else {}
    raw = {**own, "base_model": request.model, "method": method_block}
    metadata = request.metadata or {}
    raw |= {USE_CASE: metadata[USE_CASE]} if USE_CASE in metadata else {}
    if INTENDED_USES in metadata:  # beside the project's: a job has no fewer
        uses = (own.get(INTENDED_USES) or []) + metadata[INTENDED_USES].replace(",", " ").split()
        raw[INTENDED_USES] = list(dict.fromkeys(uses))
    recipe = _checked(raw)
    multiplier = block.hyperparameters.learning_rate_multiplier
    if multiplier != AUTO:
        given["learning_rate"] = multiplier * default_learning_rate(recipe, entry)[0]
        recipe = _checked(raw)
    for problem in check_license(entry.id, recipe.use_case, recipe.intended_uses):
        param = "metadata" if problem.param in (USE_CASE, INTENDED_USES) else "model"
        raise ApiError(400, problem.code, problem.message, param)
    return recipe


def _checked(raw: dict[str, Any]) -> Recipe:
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        first = setting_errors(error, raw, Recipe)[0]
        path = first.path or "recipe"
        raise ApiError(400, "invalid_value", f"{path}: {first.text}", _request_path(path, raw)) from error
    rewards = recipe.method.graders if recipe.method.type == "reinforcement" else ()
    if found := problems(rewards, "method.graders"):
        setting, message = found[0]
        raise ApiError(400, "invalid_grader", f"{setting}: {message}", _request_path(setting, raw))
    return recipe


def _request_path(path: str, raw: dict[str, Any]) -> str:
    """A path of our recipe as the path of the request that led there."""
    kind = raw["method"]["type"]
    if path.startswith("method.graders"):
        return path.replace("method.graders[0]", "method.reinforcement.grader", 1)
    return path.replace("method.hyperparameters", f"method.{kind}.hyperparameters", 1)


@router.post("")
def create_job(
    request: JobRequest,
    access: Operator,
    services: CurrentServices,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
    x_stainless_retry_count: Annotated[str, Header(include_in_schema=False)] = "0",
) -> FineTuningJob:
    """Every job is another run, also of the same file, but for a request that is sent again: the same body with the
    same `Idempotency-Key`, or what a client of OpenAI repeats by itself because it had no answer."""
    access.require(request.project, param="suffix")
    store, other = services.store, request.validation_file
    training = files.find_file(store, request.training_file, access, "training_file")
    held_out = files.find_file(store, other, access, "validation_file") if other else None
    digest = _sha256(access.caller.id, request.model_dump_json())
    key = _key_of(digest, idempotency_key, services, is_repeated=x_stainless_retry_count != "0")
    folder = f"{paths.DATASETS}/{request.project}/{paths.JOBS}/{key}"
    own, whose = _project_recipe(folder, access.caller, services)
    recipe = recipe_of(request, own)
    text = yaml.safe_dump(recipe.model_dump(mode="json", exclude_unset=True), sort_keys=False)
    _write(services, f"{folder}/{RECIPE_NAME}", [text.encode()], lambda _: whose)
    if held_out:
        _copy(services, held_out, f"{folder}/eval{files.form_of(held_out)}")
    info = _copy(services, training, f"{folder}/train{files.form_of(training)}")
    job = Job(
        id=paths.run_id_of_blob(info.path, info.etag, key),
        created_at=services.clock.now(),
        model=request.model,
        training_file=training.id,
        validation_file=held_out.id if held_out else None,
        project=request.project,
        method=request.chosen.model_dump(exclude_none=True),
        seed=recipe.method.hyperparameters.seed,
        metadata=request.metadata,
    )
    try:
        api_objects.create(store, job, job.created_at, map(tag_of, (job.metadata or {}).items()))
    except StoreConflict:
        job = _find(job.id, access, services)
    order_run(services.bus, info, key, access)
    return _shown(job, services)


def _sha256(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _key_of(request_sha256: str, idempotency_key: str | None, services: Services, *, is_repeated: bool) -> str:
    """The same for what is one job: it names the folder of the job's data, and the run."""
    if idempotency_key:
        return _sha256(request_sha256, idempotency_key)[:16]
    name = f"request:{request_sha256}"
    held = claims.read(services.store, name)
    is_known = held is not None and services.clock.now() - held.created_at <= REPEATED_WITHIN
    if held and is_known and (is_repeated or _is_original(held.owner, services)):
        return held.owner
    if held:
        claims.release(services.store, name, held.owner)
    key = _claimed(name, uuid.uuid4().hex[:16], services)
    if not is_repeated:
        _is_original(key, services)
    return key


def _is_original(key: str, services: Services) -> bool:
    """Whether this is the first request of its key that repeats no other; it may come later than its repetition."""
    this = uuid.uuid4().hex
    return _claimed(f"original:{key}", this, services) == this


def _claimed(name: str, owner: str, services: Services) -> str:
    owner = claims.take(services.store, name, owner, services.clock.now())
    claims.settle(services.store, name, owner, ttl_s=int(REPEATED_WITHIN.total_seconds()))
    return owner


def _copy(services: Services, file: File, path: str) -> BlobInfo:
    """The file for a job. It is its uploader's, unless it was written again in the storage: then it is nobody's known.

    Raises ApiError 404 if it was deleted meanwhile.
    """
    source = existing(services.blobs.info(files.path_of(file.id)), "file_not_found", f"no file {file.id}", "file_id")
    by = partial(uploads.uploaders, services.store, source.path, source.etag)
    return _write(services, path, services.blobs.read(source.path, etag=source.etag), by)


def _write(services: Services, path: str, chunks: Iterable[bytes], by: files.WrittenBy) -> BlobInfo:
    """The blob, as the request before this one wrote it if there was one."""
    try:
        return files.write(services, path, chunks, by, if_absent=True)
    except StoreConflict:
        info = services.blobs.info(path)
        if info is None:
            raise
        return info


def _project_recipe(folder: str, caller: Caller, services: Services) -> tuple[Recipe | None, uploads.Uploaders | None]:
    """What the project's recipe says beside model and method, and whose a recipe is that this caller makes of it: None
    if that is not known. Raises ApiError 400 if it cannot be read."""
    found, by = recipe_file(f"{folder}/train", services), caller.uploader
    if found is None:
        return None, by
    if found.size_bytes > MAX_RECIPE_BYTES:
        message = f"{found.path}: a recipe has at most {MAX_RECIPE_BYTES:,} bytes"
        raise ApiError(400, "project_recipe", message, "suffix")
    from shared.validation.validator import ALL_CODES  # and with it what reads datasets, which no other request needs

    findings = Findings(ALL_CODES)
    text = b"".join(services.blobs.read(found.path, etag=found.etag))
    recipe = read_recipe(text, services.config.default_base_model, findings).recipe
    if recipe is None:
        message = " ".join(group.message for group in findings.problems())
        raise ApiError(400, "project_recipe", f"{found.path}: {message}", "suffix")
    others = uploads.uploaders(services.store, found.path, found.etag, hashlib.sha256(text).hexdigest())
    return recipe, replace(by, ids=(*by.ids, *others.ids)) if by and others else None


@router.get("")
def list_jobs(
    request: Request, access: Reader, services: CurrentServices, limit: PageLimit = 20, after: str | None = None
) -> JobList:
    """Newest first. `metadata[KEY]=VALUE` keeps those that carry it."""
    metadata = {
        name.removeprefix("metadata[").removesuffix("]"): value
        for name, value in request.query_params.items()
        if name.startswith("metadata[")
    }
    require_cursor(after, lambda id: _find(id, access, services))
    unreadable: list[UnreadableDocument] = []
    of_nobody: list[UnreadableDocument] = []  # no project is known
    tag = next(map(tag_of, metadata.items()), None)  # of what the first pair finds the others are looked at
    jobs = api_objects.every(services.store, Job, of_nobody, after, tag)
    seen = (job for job in jobs if access.allows(job.project))
    found, place = page((job for job in seen if metadata.items() <= (job.metadata or {}).items()), limit)
    shown = [_shown_unless_unreadable(job, services, unreadable) for job in found]
    unreadable += of_nobody if access.allows(None) else ()
    return JobList(data=tuple(filter(None, shown)), unreadable=tuple(unreadable), **place)


@router.get("/{job_id}")
def get_job(job_id: str, access: Reader, services: CurrentServices) -> FineTuningJob:
    """A job, with the status of its run in OpenAI's words."""
    return _shown(_find(job_id, access, services), services)


@router.post("/{job_id}/cancel")
def cancel_job(job_id: str, access: Operator, runner: CurrentRunner) -> FineTuningJob:
    """Ask for the job to stop; it is `cancelled` once it is seen stopped."""
    services = runner.services
    job, run = _find(job_id, access, services), runs.load(services.store, job_id)
    if run is None:
        # The client itself asks again after a 409.
        raise ApiError(409, "job_not_received", "the job has not begun yet; ask again in a moment", "job_id")
    if run.terminal:
        raise ApiError(400, "job_finished", f"the job's run is {run.status.value}", "job_id")
    order_cancel(runner, job_id, access)
    return job_object(job, run, services)


@router.get("/{job_id}/events")
def list_events(
    job_id: str, access: Reader, services: CurrentServices, limit: PageLimit = 20, after: str | None = None
) -> JobEventList:
    """Newest first; empty until the job's files are received."""
    _find(job_id, access, services)
    unreadable: list[UnreadableDocument] = []
    found, place = page(events_of(services.store, job_id, unreadable), limit, after)
    return JobEventList(data=found, unreadable=tuple(unreadable), **place)


@router.get("/{job_id}/checkpoints")
def list_checkpoints(
    job_id: str, access: Reader, services: CurrentServices, limit: PageLimit = 10, after: str | None = None
) -> CheckpointList:
    """The checkpoints of a job's training, newest first."""
    _find(job_id, access, services)
    run = runs.load(services.store, job_id)
    found, place = page(checkpoints_of(run) if run else (), limit, after)
    return CheckpointList(data=found, **place)


def _shown(job: Job, services: Services) -> FineTuningJob:
    return job_object(job, runs.load(services.store, job.id), services)


def _shown_unless_unreadable(
    job: Job, services: Services, unreadable: list[UnreadableDocument]
) -> FineTuningJob | None:
    try:
        return _shown(job, services)
    except Transient:
        raise
    except Exception as error:  # its run, or that run's report
        log.error("job %a cannot be shown: %s", job.id, type(error).__name__)
        unreadable.append(unreadable_as(Stored({"type": runs.RUN, "id": runs.RUN}, "", job.id), error))
        return None


def _find(job_id: str, access: Access, services: Services) -> Job:
    """Raises ApiError 404, also for a job of a project that the caller may not read, and 403."""
    job = api_objects.load(services.store, Job, job_id) if job_id.startswith("run-") else None
    project = job.project if job else None
    return access.existing(job, "job_not_found", f"no fine-tuning job {job_id}", "job_id", project)
