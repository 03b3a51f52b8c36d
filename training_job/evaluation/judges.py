"""Judges as a job asks them: over HTTP with its managed identity, a few at a time, good replies kept by content."""

import hashlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
from pydantic import ValidationError

from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.evaluation import JudgeEndpoint, Judges, JudgeUse
from shared.domain.graders import Grader, judges_named
from shared.domain.jobs import DEPLOYMENT_HEADER, REQUEST_TIMEOUT_S, SCORING_SCOPE
from shared.domain.urls import is_loopback
from shared.grading.errors import GradingErrorCode, GradingFailed
from shared.grading.llm_judge import Ask, ChatMessage, JudgeReply, body_of
from shared.tls import tls_context
from training_job.job.files import read_whole_json, write_json

CONTAINER_STATUS_HEADER = "ms-azureml-model-error-statuscode"
TIMEOUT_S = float(REQUEST_TIMEOUT_S)  # a judge that is busy may take as long as an endpoint lets it
TRIES = 5
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0
# A judge that is silent this often in a row is down: waiting out every row would burn the job's hours.
UNANSWERED_IN_A_ROW = 16
# Azure docs: 408 took too long, 424 the container failed, 429 too busy; 502 to 504 come from the gateway.
_BUSY = frozenset({408, 429, 500, 502, 503, 504})


def read_judges(path: Path | None, graders: tuple[Grader, ...], kept: Path | None) -> "Panel":
    """The judges that graders name, of the file `path`; replies in `kept`. Raises `no_judges`, `judge_untrusted`."""
    try:
        given = Judges.model_validate_json(path.read_bytes()).judges if path else ()
    except (OSError, ValidationError) as error:
        raise PermanentFailure(FailureClass.CODE, "no_judges", f"{path} cannot be read") from error
    known = {judge.endpoint: judge for judge in given}
    if missing := [name for name in judges_named(graders) if name not in known]:
        raise PermanentFailure(FailureClass.CODE, "no_judges", f"nothing says where {', '.join(missing)} is")
    for judge in given:
        if not _trusted(judge.url):
            message = f"refusing to send text and a token to {urlsplit(judge.url).hostname}"
            raise PermanentFailure(FailureClass.PLATFORM, "judge_untrusted", message, judge.endpoint)
    return Panel(given, kept, scoring_token)


def _trusted(url: str) -> bool:
    """An endpoint of Azure ML, or one of this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "http":
        return is_loopback(url)
    return parts.scheme == "https" and host.endswith(".inference.ml.azure.com")


class Panel(Ask):
    """All judges of a job. Thread-safe."""

    def __init__(
        self,
        judges: tuple[JudgeEndpoint, ...],
        kept: Path | None,
        token: Callable[[], str],
        *,
        timeout_s: float = TIMEOUT_S,
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        self._judges = {judge.endpoint: judge for judge in judges}
        self._kept, self._token, self._first_wait_s = kept, token, first_wait_s
        # A proxy would see the text.
        self._http = httpx.Client(verify=tls_context(), timeout=timeout_s, trust_env=False)
        self._lock = threading.Lock()
        self._requests, self._found, self._unanswered = Counter[str](), Counter[str](), Counter[str]()

    def __call__(self, endpoint: str, messages: list[ChatMessage], read: Callable[[str], JudgeReply]) -> JudgeReply:
        """See Ask. A reply that cannot be read is not kept, so a later evaluation asks again."""
        judge = self._judges[endpoint]
        place = self._place(judge, messages)
        if place and (found := read_whole_json(place)):
            with self._lock:
                self._found[endpoint] += 1
            return JudgeReply(**found)
        opinion = read(self._reply(judge, messages))
        if place:
            write_json(place, asdict(opinion))
        return opinion

    def uses(self) -> tuple[JudgeUse, ...]:
        """The requests made so far, by judge."""
        return tuple(
            JudgeUse(requests=self._requests[name], cached=self._found[name], **judge.model_dump(exclude={"url"}))
            for name, judge in self._judges.items()
        )

    def _place(self, judge: JudgeEndpoint, messages: list[ChatMessage]) -> Path | None:
        """The messages hold answer, row and template; the score's range is in them too."""
        if self._kept is None:
            return None
        content = [judge.endpoint, judge.deployment, judge.model, body_of(messages)]
        return self._kept / "judge_replies" / f"{hashlib.sha256(orjson.dumps(content)).hexdigest()}.json"

    def _reply(self, judge: JudgeEndpoint, messages: list[ChatMessage]) -> str:
        """The judge's text; tried again with a growing wait while it is busy or away."""
        what, wait_s = "", self._first_wait_s
        for last in [False] * (TRIES - 1) + [True]:
            if self._unanswered[judge.endpoint] >= UNANSWERED_IN_A_ROW:
                raise GradingFailed(GradingErrorCode.JUDGE_SERVER, f"judge {judge.endpoint} does not answer any more")
            what, retry_after_s = self._try(judge, messages)
            if retry_after_s is None:
                return what
            if not last:
                time.sleep(min(LONGEST_WAIT_S, max(wait_s, retry_after_s)) * random.uniform(0.8, 1.2))  # noqa: S311
                wait_s *= 2
        with self._lock:
            self._unanswered[judge.endpoint] += 1
        raise GradingFailed(GradingErrorCode.JUDGE_SERVER, f"judge {judge.endpoint}: {what}, {TRIES} times")

    def _try(self, judge: JudgeEndpoint, messages: list[ChatMessage]) -> tuple[str, float | None]:
        """The reply and None, or what is wrong and seconds to wait. Raises GradingFailed if no try helps."""
        headers = {"Authorization": f"Bearer {self._token()}", DEPLOYMENT_HEADER: judge.deployment}
        with self._lock:
            self._requests[judge.endpoint] += 1
        try:
            answer = self._http.post(judge.url, json=body_of(messages), headers=headers)
        except httpx.HTTPError as error:
            return type(error).__name__, 0.0
        status = answer.status_code
        if status == 424:  # the container's own status says whether it was busy or refused
            status = int(answer.headers.get(CONTAINER_STATUS_HEADER) or 500)
        if status in _BUSY:
            return f"status {status}", _seconds(answer.headers.get("retry-after"))
        with self._lock:
            self._unanswered[judge.endpoint] = 0
        if status != 200:
            raise GradingFailed(GradingErrorCode.JUDGE_SERVER, f"judge {judge.endpoint} refused with status {status}")
        try:
            return str(answer.json()["choices"][0]["message"]["content"] or ""), None
        except (ValueError, LookupError, TypeError) as error:
            what = f"judge {judge.endpoint} sent no chat completion"
            raise GradingFailed(GradingErrorCode.JUDGE_PARSE, what) from error


def _seconds(retry_after: str | None) -> float:
    """RFC 9110 allows a date too, which is not worth reading here."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else 0.0


def scoring_token() -> str:
    """A token for online endpoints. Raises PermanentFailure `no_identity` of class platform."""
    from azure.core.exceptions import AzureError

    try:
        return str(_credential().get_token(SCORING_SCOPE).token)
    except (AzureError, ValueError) as error:
        message = f"the job's identity gets no token for its judge: {type(error).__name__}"
        raise PermanentFailure(FailureClass.PLATFORM, "no_identity", message) from error


@cache
def _credential() -> Any:
    """By a job's client id (Azure docs, "Set up authentication between Azure Machine Learning and other services")."""
    from azure.identity import ManagedIdentityCredential

    return ManagedIdentityCredential(client_id=os.environ.get("DEFAULT_IDENTITY_CLIENT_ID"))
