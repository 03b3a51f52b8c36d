"""Look at a rollout from outside: is it up, does it answer as evaluated, where does traffic go."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from typing import Any

from shared.domain.errors import BlobNotFound, FailureClass, PermanentFailure, Problem, Transient
from shared.domain.evaluation import JudgedRow
from shared.domain.events import DeploymentProbed
from shared.domain.jobs import DeploymentState
from shared.domain.run import RolloutRef, Run, Status
from shared.ports import BlobStore, Services
from shared.steps import paths
from shared.steps.outcome import Fact

QUESTIONS = 5


@dataclass(frozen=True, slots=True)
class Expected:
    """A held-out prompt with the answers stored at evaluation."""

    messages: list[dict[str, Any]]
    candidate: str
    base: str


def probe_deployment(run: Run, services: Services) -> Fact | None:
    """What can be said about this run's rollout now; None while there is nothing new to say."""
    rollout = run.rollout
    if rollout is None:
        return None
    endpoint = services.models.get_endpoint(rollout.endpoint)
    view = services.models.get_deployment(rollout.endpoint, rollout.deployment)
    if endpoint is None or view is None:
        if run.status is Status.ROLLING_BACK:
            return _probed(rollout, "failed", {} if endpoint is None else endpoint.traffic)
        return _probed(rollout, "failed", {}, problem=_vanished(rollout))
    if run.status is Status.ROLLING_BACK:
        return _probed(rollout, view.state.value, endpoint.traffic)
    match view.state:
        case DeploymentState.CREATING:
            return None
        case DeploymentState.FAILED:
            problem = Problem(
                code=view.error_code or "deployment_failed",
                message=view.error_message or "no reason was given",
                param=rollout.deployment,
            )
            return _probed(rollout, "failed", endpoint.traffic, problem=problem)
        case DeploymentState.SUCCEEDED:
            return _ask(run, rollout, endpoint.traffic, endpoint.scoring_uri, services)


def _ask(run: Run, rollout: RolloutRef, traffic: dict[str, int], scoring_uri: str, services: Services) -> Fact:
    """Real questions, past the traffic split: the platform's word that it is up is not believed."""
    assert run.recipe is not None
    expected = expected_answers(run, services.blobs)
    as_evaluated = unlike_base = 0
    latency = 0.0
    try:
        for question in expected:
            answer = services.models.chat(
                rollout.endpoint,
                question.messages,
                deployment=rollout.deployment,
                max_tokens=run.recipe.recipe.evaluation.max_new_tokens,
            )
            as_evaluated += answer.text.strip() == question.candidate.strip()
            unlike_base += answer.text.strip() != question.base.strip()
            latency = max(latency, answer.latency_s)
    except (Transient, PermanentFailure) as error:
        return _probed(rollout, "succeeded", traffic, problem=error.problem, answers_asked=len(expected))
    return _probed(
        rollout,
        "succeeded",
        traffic,
        answers_asked=len(expected),
        answers_as_evaluated=as_evaluated,
        answers_unlike_base=unlike_base,
        latency_s=latency,
        scoring_uri=scoring_uri,
    )


def expected_answers(run: Run, blobs: BlobStore) -> list[Expected]:
    """The first held-out rows on which candidate and base differ: they alone show that the adapter acts.

    Raises PermanentFailure `no_evaluation` if the evaluation's answers are gone.
    """
    assert run.curated is not None
    try:
        judged = _lines(blobs, paths.run(run.id, "evaluation/rows.jsonl"))
        rows = _lines(blobs, paths.curated(run.curated, "eval.jsonl"))
    except BlobNotFound as error:
        raise PermanentFailure(FailureClass.CODE, "no_evaluation", str(error)) from error
    answered = (JudgedRow.model_validate_json(line) for line in judged)
    differing = (row for row in answered if row.answers["candidate"] != row.answers["base"])
    return [
        Expected(
            messages=_prompt(json.loads(rows[row.row - 1])["messages"]),
            candidate=row.answers["candidate"],
            base=row.answers["base"],
        )
        for row in islice(differing, QUESTIONS)
    ]


def _prompt(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Everything before the last assistant message."""
    last = max(i for i, message in enumerate(messages) if message["role"] == "assistant")
    return [{k: v for k, v in message.items() if k != "weight"} for message in messages[:last]]


def _lines(blobs: BlobStore, path: str) -> list[bytes]:
    return b"".join(blobs.read(path)).split(b"\n")[:-1]


def _vanished(rollout: RolloutRef) -> Problem:
    return Problem(code="deployment_vanished", message="the platform has no such deployment", param=rollout.deployment)


def _probed(rollout: RolloutRef, state: str, traffic: dict[str, int], **seen: Any) -> Fact:
    return Fact(
        DeploymentProbed,
        endpoint=rollout.endpoint,
        deployment=rollout.deployment,
        state=state,
        traffic=traffic,
        **seen,
    )
