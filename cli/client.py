"""The HTTP API as Python methods, and where to find it."""

import json
import logging
import math
import os
import re
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from shared.api import models
from shared.api.models import Check
from shared.domain.dataset import Report
from shared.domain.errors import Problem
from shared.domain.policy import AppliedPolicy
from shared.domain.run import Run
from shared.domain.urls import is_loopback
from shared.tls import tls_context

# The stack a user starts, then the demos'.
STACK_FILES = tuple(Path(f".droptune/{name}stack.json") for name in ("", "demo/", "demo-emulators/"))
ANSWER_WITHIN_S = 30.0
RENEWED_BEFORE_S = 300.0

Model = TypeVar("Model", bound=BaseModel)


class Unreachable(Exception):
    """Nothing answers at the URL."""

    def __init__(self, where: str, remedy: str = "start it with `make up`, or set DROPTUNE_URL") -> None:
        super().__init__(f"Droptune does not answer at {where}; {remedy}")


class RequestRefused(Exception):
    """The API answered with an error."""

    def __init__(self, status_code: int, problem: Problem) -> None:
        where = f" ({problem.param})" if problem.param else ""
        super().__init__(f"{problem.code}: {problem.message}{where}")
        self.status_code = status_code
        self.problem = problem


@dataclass(slots=True)
class Api:
    """A client of one Droptune. Its methods raise Unreachable if nothing answers, RequestRefused for an error."""

    url: str
    transport: httpx.BaseTransport | None = None
    _http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        loopback = is_loopback(self.url)
        self._http = httpx.Client(
            base_url=self.url,
            transport=self.transport,
            auth=BearerToken() if urlsplit(self.url).scheme == "https" else None,
            headers={"x-droptune-user": user} if loopback and (user := os.environ.get("DROPTUNE_USER")) else None,
            verify=tls_context(),
            timeout=ANSWER_WITHIN_S,
            trust_env=not loopback,  # a company's proxy cannot reach this machine's loopback
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._http.close()

    def health(self) -> models.Health:
        return _read(models.Health, self._ask("GET", "/api/health"))

    def runs(self, project: str | None = None, *, limit: int = 50) -> models.RunPage:
        """The newest runs first."""
        query = {"limit": str(limit), **({} if project is None else {"project": project})}
        return _read(models.RunPage, self._ask("GET", "/api/runs", params=query))

    def run(self, run_id: str) -> tuple[Run, str]:
        """The run and its etag."""
        answer = self._ask("GET", _path(run_id))
        return _read(Run, answer), answer.headers.get("etag", "")

    def changed_run(self, run_id: str, etag: str, *, wait_s: float) -> tuple[Run, str] | None:
        """The run once it differs from `etag`, None if it does not within `wait_s`."""
        answer = self._ask("GET", _path(run_id), params={"wait_s": f"{wait_s:g}"}, headers={"If-None-Match": etag})
        if answer.status_code == httpx.codes.NOT_MODIFIED:
            return None
        return _read(Run, answer), answer.headers.get("etag", "")

    def metrics(self, run_id: str) -> models.Metrics:
        return _read(models.Metrics, self._ask("GET", _path(run_id, "metrics")))

    def report(self, run_id: str) -> Report:
        return _read(Report, self._ask("GET", _path(run_id, "report")))

    def evaluation(self, run_id: str) -> models.RunEvaluation:
        return _read(models.RunEvaluation, self._ask("GET", _path(run_id, "evaluation")))

    def cancel(self, run_id: str) -> None:
        self._ask("POST", _path(run_id, "cancel"))

    def approve(self, run_id: str, *, comment: str = "") -> int:
        """Approve a run that waits for it; how many persons more must."""
        answer = self._ask("POST", _path(run_id, "approve"), json={"comment": comment})
        return _read(models.Approved, answer).missing

    def deny(self, run_id: str, *, comment: str = "") -> None:
        """Deny a run that waits for approval."""
        self._ask("POST", _path(run_id, "deny"), json={"comment": comment})

    def promote(self, run_id: str, *, comment: str = "") -> models.PromotionAccepted:
        """Ask for the model of a run that ended in production."""
        return _read(models.PromotionAccepted, self._ask("POST", _path(run_id, "promote"), json={"comment": comment}))

    def policy(self, version: int | None = None) -> AppliedPolicy:
        """The policy in force, or that version."""
        query = {} if version is None else {"version": str(version)}
        return _read(AppliedPolicy, self._ask("GET", "/api/policy", params=query))

    def apply_policy(self, policy: dict[str, Any], *, replacing: int) -> AppliedPolicy:
        """Put a policy in force in the place of that version."""
        answer = self._ask("PUT", "/api/policy", params={"replacing": str(replacing)}, json=policy)
        return _read(AppliedPolicy, answer)

    def decide_license(self, base_model: str, **decision: str | bool) -> None:
        """Accept or refuse the license of a base model."""
        self._ask("POST", f"/api/base-models/{quote(base_model)}/license", json=decision)

    def retry(self, run_id: str) -> str:
        """The id of the new run."""
        return _read(models.RunReference, self._ask("POST", _path(run_id, "retry"))).id

    def endpoints(self) -> models.EndpointList:
        return _read(models.EndpointList, self._ask("GET", "/api/endpoints"))

    def endpoint(self, name: str) -> models.EndpointDetail:
        return _read(models.EndpointDetail, self._ask("GET", f"/api/endpoints/{quote(name, safe='')}"))

    def roll_back(self, endpoint: str, comment: str = "") -> models.RollbackAccepted:
        path = f"/api/endpoints/{quote(endpoint, safe='')}/rollback"
        return _read(models.RollbackAccepted, self._ask("POST", path, json={"comment": comment}))

    def delete_endpoint(self, name: str, comment: str = "") -> str:
        """The id of the run in production."""
        path = f"/api/endpoints/{quote(name, safe='')}"
        return _read(models.RunReference, self._ask("DELETE", path, json={"comment": comment})).id

    def restore_endpoint(self, name: str, comment: str = "") -> str:
        """The id of the run in production."""
        path = f"/api/endpoints/{quote(name, safe='')}/restore"
        return _read(models.RunReference, self._ask("POST", path, json={"comment": comment})).id

    def base_models(self) -> list[models.BaseModelSummary]:
        return list(_read(models.BaseModelList, self._ask("GET", "/api/base-models")).data)

    def base_model(self, id: str) -> models.BaseModelDetail:
        return _read(models.BaseModelDetail, self._ask("GET", f"/api/base-models/{quote(id)}"))

    def import_base_model(self, id: str) -> str:
        """The name of the job."""
        return _read(models.ImportStarted, self._ask("POST", f"/api/base-models/{quote(id)}/import")).job

    def doctor(self) -> list[Check]:
        """Every service is asked for something, which takes its time."""
        return list(_read(models.Doctor, self._ask("GET", "/api/doctor", timeout=None)).data)

    def dead_letters(self) -> models.DeadLetterList:
        """Of the entities that have any, and documents that cannot be read."""
        return _read(models.DeadLetterList, self._ask("GET", "/api/dead-letters"))

    def release(self, partition: str, id: str) -> models.Released:
        body = {"partition": partition, "id": id}
        return _read(models.Released, self._ask("POST", "/api/dead-letters/release", json=body))

    def replay(self, entity: str, message_id: str | None = None) -> int:
        """How many were sent again."""
        body = {"entity": entity, "message_id": message_id}
        return _read(models.Replayed, self._ask("POST", "/api/dead-letters/replay", json=body, timeout=None)).replayed

    def subscriptions(self, method: str, path: str, **request: Any) -> Any:
        """What the API answers about them, or about the one at the path."""
        return self._ask(method, f"/api/subscriptions{path}", timeout=None, **request).json()

    def put_dataset(self, project: str, name: str, file: BinaryIO) -> str | None:
        """Put a file into the project's drop zone; returns the id of the run that it starts."""
        path = f"/api/datasets/{quote(project, safe='')}/{quote(name, safe='')}"
        answer = self._ask("PUT", path, content=file, timeout=None)
        return models.StoredFile.model_validate_json(answer.content).run_id

    def document(self) -> dict[str, Any]:
        """What the API is, by OpenAPI."""
        found: dict[str, Any] = self._ask("GET", "/api/openapi.json").json()
        return found

    def answer(self, method: str, path: str, **request: Any) -> tuple[int, str]:
        """Status and text of the answer to any request, an error's too."""
        try:
            found = self._ask(method, path, **request)
        except RequestRefused as error:
            return error.status_code, error.problem.model_dump_json()
        return found.status_code, found.text

    def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **request)
        except httpx.TransportError as error:
            remedy = () if is_loopback(self.url) else ("see that the URL is right and the app runs",)
            raise Unreachable(self.url, *remedy) from error
        if answer.is_error:
            raise RequestRefused(answer.status_code, _problem(answer))
        return answer


def _path(run_id: str, *rest: str) -> str:
    return "/".join(("/api/runs", quote(run_id, safe=""), *rest))


def _read(model: type[Model], answer: httpx.Response) -> Model:
    """Fields of a newer server are ignored, also where the domain's own models forbid them."""
    try:
        return model.model_validate_json(answer.content, extra="ignore")
    except ValidationError as error:
        problem = Problem(code="answer_not_understood", message=f"is the server older or newer? {error}")
        raise RequestRefused(httpx.codes.OK, problem) from error


class BearerToken(httpx.Auth):
    """DROPTUNE_TOKEN as it is, or one for the API that DROPTUNE_AUDIENCE names, of who is signed in (`az login`). The
    latter is renewed before it expires, and once where the API refuses it: a run outlives a token's hour."""

    def __init__(self) -> None:
        self._token, self._audience = os.environ.get("DROPTUNE_TOKEN"), os.environ.get("DROPTUNE_AUDIENCE")
        self._expires = math.inf if self._token else 0.0

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        repeatable = isinstance(request.stream, httpx.ByteStream)  # a file that was read is not sent again
        for expires in (self._expires, 0):
            if self._audience and time.time() > expires - RENEWED_BEFORE_S:
                self._renew()
            if self._token:
                request.headers["Authorization"] = f"Bearer {self._token}"
            answer = yield request
            if answer.status_code != 401 or not self._audience or not repeatable:
                return

    def _renew(self) -> None:
        from azure.core.exceptions import ClientAuthenticationError
        from azure.identity import DefaultAzureCredential

        logging.getLogger("azure.identity").setLevel(logging.ERROR)  # else it prints what is raised, too
        try:
            found = DefaultAzureCredential().get_token(f"{self._audience}/.default")
        except ClientAuthenticationError as error:
            # Of twenty lines those that say more than that a way to sign in is not there.
            why = re.findall(r"AzureCliCredential: .*|.*AADSTS.*", error.message) or [error.message]
            message = f"no token for {self._audience}, sign in with `az login`: {'; '.join(map(str.strip, why))}"
            raise RequestRefused(401, Problem(code="no_token", message=message, param="DROPTUNE_AUDIENCE")) from error
        self._token, self._expires = found.token, found.expires_on


def _problem(answer: httpx.Response) -> Problem:
    try:
        return Problem.model_validate(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return Problem(code=f"http_{answer.status_code}", message=answer.text[:200] or answer.reason_phrase)


def find_url(given: str | None, folder: Path = Path()) -> str:
    """`given`, DROPTUNE_URL, or the URL of the stack started in `folder`. Raises Unreachable if none runs there."""
    if url := given or os.environ.get("DROPTUNE_URL"):
        return url.rstrip("/")
    for file in STACK_FILES:
        url = _stack_url(folder / file)
        if url and _answers(url):
            return url
    if any((folder / file).exists() for file in STACK_FILES):
        raise Unreachable("any URL of ./.droptune/stack.json")
    remedy = "run the command where you ran `make up`, or set DROPTUNE_URL"
    raise Unreachable(f"{folder.resolve()}, which has no .droptune/stack.json", remedy)


def _stack_url(file: Path) -> str | None:
    try:
        url = json.loads(file.read_text(encoding="utf-8"))["api_url"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(url) if url else None


def _answers(url: str) -> bool:
    try:
        # One that refuses runs, and the command itself will say what is wrong.
        with suppress(RequestRefused), Api(url) as api:
            api.health()
    except Unreachable:
        return False
    return True
