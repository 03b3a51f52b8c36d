"""Probe a rollout from outside: is it up, does it answer as evaluated, where does its traffic go."""

import json
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from statistics import median

from shared.domain import paths
from shared.domain.errors import BlobNotFound, FailureClass, PermanentFailure, Problem, Transient
from shared.domain.evaluation import GradedRow
from shared.domain.events import DeploymentProbed
from shared.domain.jobs import ChatAnswer, DeploymentState, EndpointView
from shared.domain.prompts import Prompt, prompt_of
from shared.domain.run import RolloutRef, Run, Status
from shared.domain.upgrades import read_file
from shared.ports import BlobStore, Services
from shared.step_support.outcome import Draft

QUESTIONS = 5
# No further question is asked of one deployment after this time; one alone may take longer (`answer_timeout_s`).
ANSWERS_S = 30.0


Expected = tuple[Prompt, GradedRow]  # a held-out prompt with what the evaluation stored of it


def probe_deployment(run: Run, services: Services, answers_s: float = ANSWERS_S) -> Draft | None:
    """What is found about this run's rollout now; None while its deployment is being created."""
    rollout = run.rollout
    if rollout is None:
        return None
    endpoint = services.models.get_endpoint(rollout.endpoint)
    view = services.models.get_deployment(rollout.endpoint, rollout.deployment)
    if endpoint is None or view is None:
        if run.status is Status.ROLLING_BACK:
            return _probed(rollout, DeploymentState.FAILED, {} if endpoint is None else endpoint.traffic)
        message = "the platform has no such deployment"
        vanished = Problem(code="deployment_vanished", message=message, param=rollout.deployment)
        return _probed(rollout, DeploymentState.FAILED, {}, vanished)
    if run.status is Status.ROLLING_BACK:
        return _probed(rollout, view.state, endpoint.traffic)
    match view.state:
        case DeploymentState.CREATING:
            return None
        case DeploymentState.FAILED:
            code, message = view.error_code or "deployment_failed", view.error_message or "no reason was given"
            problem = Problem(code=code, message=message, param=rollout.deployment)
            return _probed(rollout, DeploymentState.FAILED, endpoint.traffic, problem=problem)
        case DeploymentState.SUCCEEDED:
            return _ask(run, rollout, endpoint, services, answers_s)


def _ask(run: Run, rollout: RolloutRef, endpoint: EndpointView, services: Services, answers_s: float) -> Draft:
    try:
        expected = expected_answers(run, services.blobs)
    except PermanentFailure as error:  # nothing can show that the candidate answers as it was evaluated
        return _probed(rollout, DeploymentState.SUCCEEDED, endpoint.traffic, problem=error.problem)
    return Draft(ask(run, rollout, endpoint, expected, services, answers_s))


def ask(
    run: Run,
    rollout: RolloutRef,
    endpoint: EndpointView,
    expected: list[Expected],
    services: Services,
    answers_s: float = ANSWERS_S,
) -> DeploymentProbed:
    """Real questions, sent to the deployment past the traffic split: a server that is up may still answer wrongly."""
    chat = partial(_answers, run, rollout, expected, services, answers_s)
    outcomes = chat(rollout.deployment)
    failures = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
    pairs = [(row, a) for (_, row), a in zip(expected, outcomes, strict=False) if isinstance(a, ChatAnswer)]
    return DeploymentProbed(
        endpoint=rollout.endpoint,
        deployment=rollout.deployment,
        state=DeploymentState.SUCCEEDED,
        traffic=endpoint.traffic,
        problem=failures[0] if failures else None,
        answers_requested=len(outcomes),
        answers_failed=len(failures),
        answers_as_evaluated=sum(a.text.strip() == row.answers["candidate"].strip() for row, a in pairs),
        answers_unlike_base=sum(a.text.strip() != row.answers["base"].strip() for row, a in pairs),
        prompts_unlike_evaluated=sum(len({row.prompt_tokens, a.prompt_tokens} - {None}) == 2 for row, a in pairs),
        latency_s=_median_latency(outcomes),
        previous_latency_s=_previous_latency(rollout, chat) if pairs else None,
        scoring_uri=endpoint.scoring_uri,
    )


def _answers(
    run: Run, rollout: RolloutRef, expected: list[Expected], services: Services, answers_s: float, deployment: str
) -> list[ChatAnswer | Problem]:
    """One answer, or what went wrong, per question that was sent.

    After one that timed out the rest counts as failed; after slow ones it is left for the next probe.
    """
    limit = run.resolved.requested.evaluation.max_new_tokens
    outcomes: list[ChatAnswer | Problem] = []
    ends = time.monotonic() + answers_s
    for prompt, _ in expected:
        if outcomes and time.monotonic() >= ends:
            break
        try:
            answer = services.models.chat(rollout.endpoint, prompt, deployment=deployment, max_tokens=limit)
            outcomes.append(answer)
        except (Transient, PermanentFailure) as error:
            outcomes.append(error.problem)
            if error.problem.code == "endpoint_unreachable":
                return outcomes + [error.problem] * (len(expected) - len(outcomes))
    return outcomes


def _median_latency(outcomes: list[ChatAnswer | Problem]) -> float | None:
    return median(latencies) if (latencies := [o.latency_s for o in outcomes if isinstance(o, ChatAnswer)]) else None


def _previous_latency(rollout: RolloutRef, chat: Callable[[str], list[ChatAnswer | Problem]]) -> float | None:
    """None if there is nothing to compare; the old one's troubles are not the candidate's."""
    if not rollout.previous:
        return None
    champion = max(rollout.previous, key=lambda name: rollout.previous[name])
    return _median_latency(chat(champion))


def expected_answers(run: Run, blobs: BlobStore, count: int = QUESTIONS) -> list[Expected]:
    """The first `count` held-out rows on which candidate and base differ: they alone show that the adapter acts.

    Raises PermanentFailure `no_evaluation`, `unreadable_evaluation` (class code) if the evaluation's answers, or the
    rows they belong to, are gone or spoiled.
    """
    assert run.curated is not None
    try:
        lines = _lines(blobs, paths.run(run.id, "evaluation/rows.jsonl"))
        rows = _lines(blobs, paths.curated(run.curated, "eval.jsonl"))
    except BlobNotFound as error:
        raise PermanentFailure(FailureClass.CODE, "no_evaluation", str(error)) from error
    try:
        rows_graded = (read_file(GradedRow, line) for line in lines)
        differing = (row for row in rows_graded if row.answers["candidate"] != row.answers["base"])
        return [(_prompt(row, rows), row) for row in islice(differing, count)]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        # Its kind only: a message may quote the rows.
        message = f"the evaluation's rows cannot be read: {type(error).__name__}"
        raise PermanentFailure(FailureClass.CODE, "unreadable_evaluation", message) from error


def _prompt(row: GradedRow, rows: list[bytes]) -> Prompt:
    return prompt_of(json.loads(rows[row.row - 1]))


def _lines(blobs: BlobStore, path: str) -> list[bytes]:
    return b"".join(blobs.read(path)).split(b"\n")[:-1]


def _probed(
    rollout: RolloutRef, state: DeploymentState, traffic: dict[str, int], problem: Problem | None = None
) -> Draft:
    """Without questions: it cannot answer, or is being rolled back."""
    names = {"endpoint": rollout.endpoint, "deployment": rollout.deployment}
    return Draft(DeploymentProbed(**names, state=state, traffic=traffic, problem=problem))
