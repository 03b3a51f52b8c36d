"""`/api/graders`: what a grader may say, whether it can work, and what it gives one answer."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from functions.http.errors import ApiError
from functions.http.runs import Operator, Reader
from shared.domain.graders import Grader, Multi, PythonGrader
from shared.grading import Engine, fields, problems
from shared.validation.recipes import settings_at_fault

router = APIRouter(prefix="/api/graders", tags=["graders"])


class _Graders(BaseModel):
    graders: tuple[Grader, ...]


# Each may take its five seconds, and an answer is due within a minute.
MAX_PYTHON_GRADERS = 8


class GradersRequest(BaseModel):
    """Graders as they stand in `evaluation.graders` of a recipe."""

    graders: Annotated[list[Any], Field(min_length=1, max_length=16)]


class RunRequest(GradersRequest):
    """One answer of a model and the row's fields; `item.answer` is the wanted answer."""

    output_text: str = Field(max_length=100_000)
    item: dict[str, Any] = Field(default_factory=dict)


class SettingProblem(BaseModel):
    """What is wrong with one setting, by its path."""

    param: str
    message: str


@router.get("/schema")
def grader_schema(_: Reader) -> dict[str, Any]:
    """JSON schema of one grader."""
    return TypeAdapter(Grader).json_schema()


@router.post("/validate")
def validate_graders(request: GradersRequest, _: Reader) -> dict[str, Any]:
    """Everything that can be known before an answer exists; `fields` are the row fields that are read."""
    graders, found = _read(request)
    return {"valid": not found, "problems": found, "fields": sorted(fields(graders))}


@router.post("/run")
def run_graders(request: RunRequest, _: Operator) -> dict[str, Any]:
    """Grade one answer as an evaluation would.

    `score` is null where a grader failed. The codes of `errors` are OpenAI's names for a grader run's errors.
    """
    graders, found = _read(request)
    if found:
        raise ApiError(400, "invalid_grader", found[0].message, found[0].param)
    if _python_graders(graders) > MAX_PYTHON_GRADERS:
        message = f"at most {MAX_PYTHON_GRADERS} python graders are run at once"
        raise ApiError(400, "too_many_graders", message, "graders")
    with Engine(graders) as engine:
        [grade] = engine.grade([request.output_text], [request.item])
    return {
        "score": grade.score,
        "sub_scores": grade.parts,
        "errors": [
            {"grader": error.grader, "code": error.code.value, "message": error.message} for error in grade.errors
        ],
    }


def _read(request: GradersRequest) -> tuple[tuple[Grader, ...], list[SettingProblem]]:
    raw = {"graders": request.graders}
    try:
        graders = _Graders.model_validate(raw).graders
    except ValidationError as error:
        unknown, wrong = settings_at_fault(error, raw)
        found = [SettingProblem(param=path, message="unknown setting") for path in unknown]
        return (), found + [SettingProblem(param=path, message=reason) for path, reason in wrong.items()]
    found = [SettingProblem(param=path, message=message) for path, message in problems(graders, "graders")]
    return graders, found


def _python_graders(graders: tuple[Grader, ...]) -> int:
    each = [part for grader in graders for part in (grader.graders.values() if isinstance(grader, Multi) else [grader])]
    return sum(isinstance(part, PythonGrader) for part in each)
