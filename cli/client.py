"""The HTTP API as Python methods, and where to find it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.domain.dataset import Report
from shared.domain.errors import Problem
from shared.domain.evaluation import EvaluationResult, SampleAnswer, Verdict
from shared.domain.jobs import JobStatus
from shared.domain.run import Run
from shared.health.checks import Check

# The stack a user starts, then the demos'.
STACK_FILES = tuple(Path(f".droptune/{name}stack.json") for name in ("", "demo/", "demo-emulators/"))
ANSWER_WITHIN_S = 30.0

Model = TypeVar("Model", bound=BaseModel)


class Unreachable(Exception):
    """Nothing answers at the URL."""

    def __init__(self, where: str) -> None:
        super().__init__(f"Droptune does not answer at {where}; start it with `make up`, or set DROPTUNE_URL")


class Refused(Exception):
    """The API answered with an error."""

    def __init__(self, status_code: int, problem: Problem) -> None:
        where = f" ({problem.param})" if problem.param else ""
        super().__init__(f"{problem.code}: {problem.message}{where}")
        self.status_code = status_code
        self.problem = problem


class Lenient(BaseModel):
    """An answer of the API; fields of a newer server are left out, not refused."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Progress(Lenient):
    step: int
    total_steps: int
    eta_s: float | None = None


class Metrics(Lenient):
    """Curves of the run's training job: name -> points of (step, value); a value that is not finite is None."""

    job: str | None = None
    series: dict[str, list[tuple[int, float | None]]] = {}
    progress: Progress | None = None


class Evaluation(Lenient):
    """Each part is None or empty until the run has got that far."""

    result: EvaluationResult | None = None
    verdict: Verdict | None = None
    samples: tuple[SampleAnswer, ...] = ()


class Previous(Lenient):
    """The deployment before the present one, kept warm until `keep_until`."""

    champion: str
    deployment: str
    model: str
    keep_until: datetime


class Endpoint(Lenient):
    """`champion` is the run in production; `deployment` and `model` are its names on the platform."""

    endpoint: str
    project: str
    champion: str
    deployment: str
    model: str
    scoring_uri: str
    promoted_at: datetime
    previous: Previous | None = None


class RollbackOrder(Lenient):
    """The deployment that is to lose the traffic and the one that is to get it."""

    endpoint: str
    left: str = Field(alias="from")
    to: str


class LastImport(Lenient):
    job: str
    status: JobStatus
    problem: Problem | None = None


class BaseModelState(Lenient):
    """An entry of the catalog; `tokenizer_sha256` is None until it is imported. A list has no `last_import`."""

    id: str
    license: str
    license_policy: str
    duties: tuple[str, ...]
    tokenizer_sha256: str | None = None
    last_import: LastImport | None = Field(default=None, alias="import")


class DeadLetter(Lenient):
    id: str
    subject: str
    reason: str | None = None
    description: str | None = None
    enqueued_at: datetime
    delivery_count: int


class DeadLetters(Lenient):
    """Those of one entity: how many, and the oldest."""

    entity: str
    count: int
    messages: tuple[DeadLetter, ...] = ()


@dataclass(slots=True)
class Api:
    """A client of one Droptune.

    Every method raises Unreachable if nothing answers and Refused if the answer is an error.
    """

    url: str
    transport: httpx.BaseTransport | None = None
    _http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        loopback = urlsplit(self.url).hostname in ("127.0.0.1", "localhost", "::1")
        self._http = httpx.Client(
            base_url=self.url,
            transport=self.transport,
            headers=_authorization(self.url),
            timeout=ANSWER_WITHIN_S,
            trust_env=not loopback,  # a company's proxy cannot reach this machine's loopback
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def health(self) -> dict[str, Any]:
        answer: dict[str, Any] = self._ask("GET", "/api/health").json()
        return answer

    def runs(self, project: str | None = None, *, limit: int = 50) -> list[Run]:
        """The newest runs first."""
        query: dict[str, str | int] = {"limit": limit}
        if project is not None:
            query["project"] = project
        page = self._ask("GET", "/api/runs", params=query).json()
        return [_parse(Run, body) for body in page["data"]]

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

    def metrics(self, run_id: str) -> Metrics:
        return _read(Metrics, self._ask("GET", _path(run_id, "metrics")))

    def report(self, run_id: str) -> Report:
        return _read(Report, self._ask("GET", _path(run_id, "report")))

    def evaluation(self, run_id: str) -> Evaluation:
        return _read(Evaluation, self._ask("GET", _path(run_id, "evaluation")))

    def cancel(self, run_id: str) -> None:
        self._ask("POST", _path(run_id, "cancel"))

    def decide(self, run_id: str, *, granted: bool, comment: str = "") -> None:
        """Approve or deny a run that awaits a person's word."""
        self._ask("POST", _path(run_id, "approve" if granted else "deny"), json={"comment": comment})

    def retry(self, run_id: str) -> str:
        """The id of the new run."""
        return str(self._ask("POST", _path(run_id, "retry")).json()["id"])

    def endpoints(self) -> list[Endpoint]:
        return [_parse(Endpoint, body) for body in self._ask("GET", "/api/endpoints").json()["data"]]

    def roll_back(self, endpoint: str) -> RollbackOrder:
        return _read(RollbackOrder, self._ask("POST", f"/api/endpoints/{quote(endpoint, safe='')}/rollback"))

    def base_models(self) -> list[BaseModelState]:
        return [_parse(BaseModelState, body) for body in self._ask("GET", "/api/base-models").json()["data"]]

    def base_model(self, id: str) -> BaseModelState:
        return _read(BaseModelState, self._ask("GET", f"/api/base-models/{quote(id)}"))

    def import_base_model(self, id: str) -> str:
        """The name of the job."""
        return str(self._ask("POST", f"/api/base-models/{quote(id)}/import").json()["job"])

    def doctor(self) -> list[Check]:
        """Every service is asked for something, which takes its time."""
        return [_parse(Check, body) for body in self._ask("GET", "/api/doctor", timeout=None).json()["data"]]

    def dead_letters(self) -> list[DeadLetters]:
        """Of the entities that have any."""
        return [_parse(DeadLetters, body) for body in self._ask("GET", "/api/dead-letters").json()["data"]]

    def replay(self, entity: str, message_id: str | None = None) -> int:
        """How many were sent again."""
        order = {"entity": entity, "message_id": message_id}
        return int(self._ask("POST", "/api/dead-letters/replay", json=order, timeout=None).json()["replayed"])

    def put_dataset(self, project: str, name: str, chunks: Iterator[bytes], size_bytes: int) -> None:
        """Put a file into the project's drop zone."""
        path = f"/api/datasets/{quote(project, safe='')}/{quote(name, safe='')}"
        self._ask("PUT", path, content=chunks, headers={"Content-Length": str(size_bytes)}, timeout=None)

    def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **request)
        except httpx.TransportError as error:
            raise Unreachable(self.url) from error
        if answer.is_error:
            raise Refused(answer.status_code, _problem(answer))
        return answer


def _path(run_id: str, *rest: str) -> str:
    return "/".join(("/api/runs", quote(run_id, safe=""), *rest))


def _read(model: type[Model], answer: httpx.Response) -> Model:
    return _parse(model, answer.json())


def _parse(model: type[Model], body: Any) -> Model:
    """The domain models forbid fields they do not know; those of a newer server are dropped here instead."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        unknown = [each["loc"] for each in error.errors() if each["type"] == "extra_forbidden"]
        first = error
    try:
        for *path, name in unknown:
            holder = body
            for key in path:
                holder = holder[key]
            del holder[name]
        return model.model_validate(body)
    except (LookupError, TypeError, ValidationError):
        problem = Problem(code="answer_not_understood", message=f"is the server older or newer? {first}")
        raise Refused(httpx.codes.OK, problem) from first


def _authorization(url: str) -> dict[str, str]:
    """Whoever holds DROPTUNE_TOKEN, a bearer token of Entra; it leaves this machine encrypted or not at all."""
    token = os.environ.get("DROPTUNE_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token and urlsplit(url).scheme == "https" else {}


def _problem(answer: httpx.Response) -> Problem:
    try:
        return Problem.model_validate(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return Problem(code=f"http_{answer.status_code}", message=answer.text[:200] or answer.reason_phrase)


def find_url(given: str | None, folder: Path = Path()) -> str:
    """The API's URL: the one given, DROPTUNE_URL, or that of the stack started in `folder`.

    Raises Unreachable if no stack runs there.
    """
    if url := given or os.environ.get("DROPTUNE_URL"):
        return url.rstrip("/")
    for file in STACK_FILES:
        url = _stack_url(folder / file)
        if url and _answers(url):
            return url
    raise Unreachable("any URL of ./.droptune/stack.json")


def _stack_url(file: Path) -> str | None:
    try:
        url = json.loads(file.read_text(encoding="utf-8"))["api_url"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(url) if url else None


def _answers(url: str) -> bool:
    try:
        with Api(url) as api:
            api.health()
    except Unreachable:
        return False
    except Refused:
        return True  # it runs, and the command itself will say what is wrong
    return True
