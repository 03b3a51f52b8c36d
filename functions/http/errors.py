"""Every error answer is `{"error": {code, message, param}}`; under `/v1` with OpenAI's `type`."""

import json
import logging
from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from shared.api.models import ErrorAnswer
from shared.domain.errors import (
    BlobNotFound,
    DroptuneError,
    InvalidInput,
    LaterVersion,
    PermanentFailure,
    Problem,
    StoreConflict,
    Transient,
)
from shared.domain.model import finite
from shared.domain.policy import PolicyProblem
from shared.validation.setting_errors import NOT_AN_OBJECT, dotted, location


class JsonResponse(JSONResponse):
    """Writes NaN and infinity as null, a lone surrogate as `?`, and any integer.

    JSON has no such numbers, and UTF-8 no such characters. A diverged training job logs the ones, and a request may
    hold the others as `\\ud800`, which an error then quotes. Starlette's own class raises on both.
    """

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """With rows in it, an answer is nothing that a browser keeps or guesses a type of."""
        super().init_headers({"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", **(headers or {})})

    def render(self, content: Any) -> bytes:
        try:
            return orjson.dumps(content)
        except TypeError:
            return json.dumps(_encodable(content), ensure_ascii=False).encode()


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_encodable(each) for each in value]
    return finite(value)


log = logging.getLogger(__name__)

Found = TypeVar("Found")


class ApiError(Exception):
    """An answer other than success."""

    def __init__(
        self, status: int, code: str, message: str, param: str | None = None, problems: tuple[PolicyProblem, ...] = ()
    ) -> None:
        super().__init__(f"{status} {code}")
        self.status, self.problems = status, problems
        self.problem = Problem(code=code, message=message, param=param)


def existing(value: Found | None, code: str, message: str, param: str) -> Found:
    """The value. Raises ApiError 404 if it is None."""
    if value is None:
        raise ApiError(404, code, message, param)
    return value


TYPES = {401: "authentication_error", 403: "permission_error"}


RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "The request cannot be served as it is"},
    "5XX": {"model": ErrorAnswer, "description": "The app, or a service behind it, failed"},
}


def answer(request: Request, status: int, problem: Problem, problems: tuple[PolicyProblem, ...] = ()) -> JsonResponse:
    error = problem.model_dump()
    if request.url.path.startswith("/v1/"):
        error["type"] = "server_error" if status >= 500 else TYPES.get(status, "invalid_request_error")
    content = {"error": error, **({"problems": [one.model_dump() for one in problems]} if problems else {})}
    return JsonResponse(content, status_code=status)


def install(api: FastAPI) -> None:
    @api.exception_handler(ApiError)
    def on_api_error(request: Request, error: ApiError) -> JsonResponse:
        return answer(request, error.status, error.problem, error.problems)

    @api.exception_handler(DroptuneError)
    def on_droptune_error(request: Request, error: DroptuneError) -> JsonResponse:
        statuses = {
            InvalidInput: 400,
            BlobNotFound: 404,
            StoreConflict: 409,
            PermanentFailure: 502,  # a service behind the app refused
            Transient: 503,
            LaterVersion: 503,
        }
        status = next((status for kind, status in statuses.items() if isinstance(error, kind)), 500)
        if error.problem.code == "unreadable_document":  # its message says what makes it readable
            status = 409
        log.error("%s %s: %s", request.method, request.url.path, error)
        return answer(request, status, error.problem)

    @api.exception_handler(Exception)
    def on_any_other_error(request: Request, error: Exception) -> JsonResponse:
        # Starlette raises it once more after the answer, and the host logs it.
        return answer(request, 500, Problem(code="internal_error", message="the app failed; its log has the cause"))

    @api.exception_handler(HTTPException)
    def on_http_error(request: Request, error: HTTPException) -> JsonResponse:
        code = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}.get(error.status_code, "http_error")
        return answer(request, error.status_code, Problem(code=code, message=str(error.detail), param=request.url.path))

    @api.exception_handler(RequestValidationError)
    def on_bad_request(request: Request, error: RequestValidationError) -> JsonResponse:
        first = error.errors()[0]
        place, *path = first["loc"]
        given = error.body if place == "body" else dict.fromkeys(path)
        param = dotted(location(tuple(path), given, missing=first["type"] == "missing"))
        message = "Input should be an object" if first["type"] in NOT_AN_OBJECT else str(first["msg"])
        return answer(request, 400, Problem(code="bad_request", message=message, param=param or None))
