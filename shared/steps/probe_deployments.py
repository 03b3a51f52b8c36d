"""Probe a rollout from outside: is it up, does it answer as evaluated, where does its traffic go."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Any

from shared.domain import paths
from shared.domain.errors import BlobNotFound, FailureClass, PermanentFailure, Problem, Transient
from shared.domain.evaluation import GradedRow
from shared.domain.events import DeploymentProbed
from shared.domain.jobs import ChatAnswer, DeploymentState
from shared.domain.run import RolloutRef, Run, Status
from shared.domain.upgrades import read_file
from shared.ports import BlobStore, Services
from shared.step_support.outcome import Draft

QUESTIONS = 5


@dataclass(frozen=True, slots=True)
class Expected:
    """A held-out prompt with the answers stored at evaluation."""

    messages: list[dict[str, Any]]
    candidate: str
    base: str
    prompt_tokens: int | None


def probe_deployment(run: Run, services: Services) -> Draft | None:
    """What is found about this run's rollout now; None while its deployment is being created."""
    rollout = run.rollout
    if rollout is None:
        return None
    endpoint = services.models.get_endpoint(rollout.endpoint)
    view = services.models.get_deployment(rollout.endpoint, rollout.deployment)
    if endpoint is None or view is None:
        if run.status is Status.ROLLING_BACK:
            return _probed(rollout, DeploymentState.FAILED, {} if endpoint is None else endpoint.traffic)
        return _probed(rollout, DeploymentState.FAILED, {}, problem=_vanished(rollout))
    if run.status is Status.ROLLING_BACK:
        return _probed(rollout, view.state, endpoint.traffic)
    match view.state:
        case DeploymentState.CREATING:
            return None
        case DeploymentState.FAILED:
            problem = Problem(
                code=view.error_code or "deployment_failed",
                message=view.error_message or "no reason was given",
                param=rollout.deployment,
            )
            return _probed(rollout, DeploymentState.FAILED, endpoint.traffic, problem=problem)
        case DeploymentState.SUCCEEDED:
            return _ask(run, rollout, endpoint.traffic, endpoint.scoring_uri, services)


def _ask(run: Run, rollout: RolloutRef, traffic: dict[str, int], scoring_uri: str, services: Services) -> Draft:
    """Real questions, sent to the deployment past the traffic split: a server that is up may still answer wrongly."""
    expected = expected_answers(run, services.blobs)
    outcomes = _answers(run, rollout, rollout.deployment, expected, services)
    failures = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
    pairs = [(q, a) for q, a in zip(expected, outcomes, strict=True) if isinstance(a, ChatAnswer)]
    seen = DeploymentProbed(
        endpoint=rollout.endpoint,
        deployment=rollout.deployment,
        state=DeploymentState.SUCCEEDED,
        traffic=traffic,
        problem=failures[0] if failures else None,
        answers_requested=len(expected),
        answers_failed=len(failures),
        answers_as_evaluated=sum(a.text.strip() == q.candidate.strip() for q, a in pairs),
        answers_unlike_base=sum(a.text.strip() != q.base.strip() for q, a in pairs),
        prompts_unlike_evaluated=sum(_other_prompt(q, a) for q, a in pairs),
        latency_s=_median_latency(outcomes),
        previous_latency_s=_previous_latency(run, rollout, expected, services) if pairs else None,
        scoring_uri=scoring_uri,
    )
    return Draft(seen)


def _answers(
    run: Run, rollout: RolloutRef, deployment: str, expected: list[Expected], services: Services
) -> list[ChatAnswer | Problem]:
    """One answer, or what went wrong, per question. After one that timed out no further request is sent."""
    assert run.recipe is not None
    limit = run.recipe.requested.evaluation.max_new_tokens
    outcomes: list[ChatAnswer | Problem] = []
    for question in expected:
        try:
            answer = services.models.chat(rollout.endpoint, question.messages, deployment=deployment, max_tokens=limit)
            outcomes.append(answer)
        except (Transient, PermanentFailure) as error:
            outcomes.append(error.problem)
            if error.problem.code == "endpoint_unreachable":
                return outcomes + [error.problem] * (len(expected) - len(outcomes))
    return outcomes


def _other_prompt(question: Expected, answer: ChatAnswer) -> bool:
    known = question.prompt_tokens is not None and answer.prompt_tokens is not None
    return known and question.prompt_tokens != answer.prompt_tokens


def _median_latency(outcomes: list[ChatAnswer | Problem]) -> float | None:
    return median(latencies) if (latencies := [o.latency_s for o in outcomes if isinstance(o, ChatAnswer)]) else None


def _previous_latency(run: Run, rollout: RolloutRef, expected: list[Expected], services: Services) -> float | None:
    """None if there is nothing to compare; the old one's troubles are not the candidate's."""
    if not rollout.previous:
        return None
    champion = max(rollout.previous, key=lambda name: rollout.previous[name])
    return _median_latency(_answers(run, rollout, champion, expected, services))


def expected_answers(run: Run, blobs: BlobStore) -> list[Expected]:
    """The first held-out rows on which candidate and base differ: they alone show that the adapter acts.

    Raises PermanentFailure `no_evaluation` if the evaluation's answers are gone.
    """
    assert run.curated is not None
    try:
        lines = _lines(blobs, paths.run(run.id, "evaluation/rows.jsonl"))
        rows = _lines(blobs, paths.curated(run.curated, "eval.jsonl"))
    except BlobNotFound as error:
        raise PermanentFailure(FailureClass.CODE, "no_evaluation", str(error)) from error
    rows_graded = (read_file(GradedRow, line) for line in lines)
    differing = (row for row in rows_graded if row.answers["candidate"] != row.answers["base"])
    return [
        Expected(
            messages=_prompt(json.loads(rows[row.row - 1])),
            candidate=row.answers["candidate"],
            base=row.answers["base"],
            prompt_tokens=row.prompt_tokens,
        )
        for row in islice(differing, QUESTIONS)
    ]


def _prompt(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The prompt: a dialogue up to its last answer, all of a prompt without one, the input of a preference pair."""
    messages = row["input"]["messages"] if "input" in row else row["messages"]
    prompt = messages[:-1] if messages[-1]["role"] == "assistant" else messages
    return [{k: v for k, v in message.items() if k != "weight"} for message in prompt]


def _lines(blobs: BlobStore, path: str) -> list[bytes]:
    return b"".join(blobs.read(path)).split(b"\n")[:-1]


def _vanished(rollout: RolloutRef) -> Problem:
    return Problem(code="deployment_vanished", message="the platform has no such deployment", param=rollout.deployment)


def _probed(
    rollout: RolloutRef, state: DeploymentState, traffic: dict[str, int], problem: Problem | None = None
) -> Draft:
    """Without questions: it cannot answer, or is being rolled back."""
    return Draft(
        DeploymentProbed(
            endpoint=rollout.endpoint, deployment=rollout.deployment, state=state, traffic=traffic, problem=problem
        )
    )
