"""`/api/graders`: what a grader may say, whether it can work, and what it gives one answer."""

from collections.abc import Callable, Iterator
from functools import partial

from fastapi import APIRouter
from pydantic import BaseModel, TypeAdapter, ValidationError

from functions.http.auth import Access, CurrentServices, Operator, Reader
from functions.http.errors import ApiError
from shared.api import models
from shared.domain.errors import FailureClass, PermanentFailure, Transient
from shared.domain.graders import Grader, PythonGrader, ScoreModel, judges_named, simple_graders
from shared.domain.prompts import Prompt
from shared.grading.engine import Engine, fields, problems
from shared.grading.errors import GradingErrorCode, GradingFailed
from shared.grading.llm_judge import AT_ONCE, MAX_REPLY_TOKENS, ChatMessage, JudgeReply
from shared.ports import ModelHost, Services
from shared.step_support.llm_judges import find_judge, require_own_or_shared
from shared.validation.setting_errors import setting_errors

router = APIRouter(prefix="/api/graders", tags=["graders"])


class _Graders(BaseModel):
    graders: tuple[Grader, ...]


# A Python grader may take its five seconds, and an answer is due within a minute.
MAX_PYTHON_GRADERS = 8
MAX_JUDGES = AT_ONCE
JUDGE_TIMEOUT_S = 30.0


@router.get("/schema")
def grader_schema(_: Reader) -> models.SchemaDocument:
    """JSON schema of one grader."""
    return models.SchemaDocument(TypeAdapter(Grader).json_schema())


@router.post("/validate")
def validate_graders(
    request: models.GradersRequest, access: Reader, services: CurrentServices
) -> models.GraderValidation:
    """Everything that can be known before an answer exists; `fields` are the row fields that are read."""
    graders, found = _read(request, access, services)
    return models.GraderValidation(valid=not found, problems=tuple(found), fields=tuple(sorted(fields(graders))))


@router.post("/run")
def run_graders(request: models.GradeRequest, access: Operator, services: CurrentServices) -> models.GradeResult:
    """Grade one answer as an evaluation would.

    `score` is null where a grader failed. The codes of `errors` are OpenAI's names for a grader run's errors.
    """
    graders, found = _read(request, access, services)
    if found:
        raise ApiError(400, "invalid_grader", found[0].message, found[0].param)
    if _number_of(PythonGrader, graders) > MAX_PYTHON_GRADERS:
        message = f"at most {MAX_PYTHON_GRADERS} python graders are run at once"
        raise ApiError(400, "too_many_graders", message, "graders")
    if _number_of(ScoreModel, graders) > MAX_JUDGES:
        raise ApiError(400, "too_many_graders", f"at most {MAX_JUDGES} judges are asked at once", "graders")
    with Engine(graders, partial(_ask, services.models), isolated=True) as engine:
        [grade] = engine.grade([request.output_text], [request.item])
    failures = (models.GraderFailure(grader=one.grader, code=one.code, message=one.message) for one in grade.errors)
    return models.GradeResult(score=grade.score, sub_scores=grade.parts, errors=tuple(failures), reasons=grade.reasons)


def _read(
    request: models.GradersRequest, access: Access, services: Services
) -> tuple[tuple[Grader, ...], list[models.SettingProblem]]:
    raw = {"graders": request.graders}
    try:
        graders = _Graders.model_validate(raw).graders
    except ValidationError as error:
        return (), [
            models.SettingProblem(param=found.path, message=found.text)
            for found in setting_errors(error, raw, _Graders)
        ]
    found = [models.SettingProblem(param=path, message=message) for path, message in problems(graders, "graders")]
    return graders, found or [
        models.SettingProblem(param="graders", message=answer) for answer in _judges_missing(graders, access, services)
    ]


def _judges_missing(graders: tuple[Grader, ...], access: Access, services: Services) -> Iterator[str]:
    for name in judges_named(graders):
        try:
            require_own_or_shared(name, access.allows, services)
            find_judge(name, services.models, FailureClass.RECIPE)
        except PermanentFailure as error:
            yield f"{error.problem.code}: {error.problem.message}"


def _ask(
    models: ModelHost, endpoint: str, messages: list[ChatMessage], read: Callable[[str], JudgeReply]
) -> JudgeReply:
    """One try each: a dry run answers at once that the judge is busy."""
    try:
        judge = find_judge(endpoint, models, FailureClass.RECIPE)
        answer = models.chat(
            endpoint,
            Prompt([dict(message) for message in messages]),
            deployment=judge.deployment,
            max_tokens=MAX_REPLY_TOKENS,
            timeout_s=JUDGE_TIMEOUT_S,
        )
    except (Transient, PermanentFailure) as error:
        message = f"{error.problem.code}: judge {endpoint} gave no reply"
        raise GradingFailed(GradingErrorCode.JUDGE_SERVER, message) from error
    return read(answer.text)


def _number_of(kind: type[Grader], graders: tuple[Grader, ...]) -> int:
    return sum(isinstance(part, kind) for part in simple_graders(graders))
