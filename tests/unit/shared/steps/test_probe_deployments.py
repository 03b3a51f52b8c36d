"""What a look at a rollout says when some of its requests go unanswered."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shared.domain import paths
from shared.domain.dataset import CuratedVersion
from shared.domain.errors import Transient
from shared.domain.events import DeploymentProbed
from shared.domain.jobs import ChatAnswer, DeploymentState, DeploymentView, EndpointView
from shared.domain.planning.plan import resolve
from shared.domain.prompts import Prompt, prompt_of
from shared.domain.recipe import Recipe
from shared.domain.run import RolloutRef, Run, Status
from shared.ports import Services
from shared.runner import Runner
from shared.step_support.outcome import Draft, event_of
from shared.steps.advance_rollout import advance_rollout
from shared.steps.probe_deployments import probe_deployment
from tests.unit.shared.support import drop

NEW, OLD = "d-new", "d-old"
BUSY, UNREACHABLE = Transient("endpoint_busy", "503"), Transient("endpoint_unreachable", "ReadTimeout")


class Models:
    """A platform whose new deployment fails the questions it is told to fail."""

    def __init__(self) -> None:
        self.fails: dict[str, Transient] = {}
        self.requests: list[tuple[str | None, str]] = []
        self.prompts: list[Prompt] = []
        self.limits: set[int] = set()

    def get_endpoint(self, name: str) -> EndpointView:
        return EndpointView(name=name, scoring_uri="http://x/", traffic={OLD: 90, NEW: 10}, deployments=(NEW, OLD))

    def get_deployment(self, endpoint: str, name: str) -> DeploymentView:
        return DeploymentView(name=name, state=DeploymentState.SUCCEEDED)

    def chat(
        self, endpoint: str, prompt: Prompt, *, deployment: str | None = None, max_tokens: int = 256
    ) -> ChatAnswer:
        question = prompt.messages[-1]["content"]
        self.requests.append((deployment, question))
        self.prompts.append(prompt)
        self.limits.add(max_tokens)
        if deployment == NEW and question in self.fails:
            raise self.fails[question]
        return ChatAnswer(text=f"tuned {question}", deployment=deployment, latency_s=0.5)


@pytest.fixture
def models() -> Models:
    return Models()


@pytest.fixture
def ports(services: Services, models: Models) -> Services:
    return replace(services, models=models)  # type: ignore[arg-type]


@pytest.fixture
def run(services: Services, runner: Runner) -> Run:
    """At a tenth of the traffic, with seven held-out rows."""
    created = drop(services, runner)
    assert created is not None
    curated = CuratedVersion(
        project="shop", version="v1", source=created.dataset, train_rows=1, eval_rows=7, characters_max=9
    )
    questions = [f"q{number}" for number in range(1, 8)]
    rows = [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": "right"}]} for q in questions
    ]
    graded = [
        {"row": number, "scores": {}, "answers": {"candidate": f"tuned {q}", "base": "untuned"}}
        for number, q in enumerate(questions, start=1)
    ]
    services.blobs.write(paths.curated(curated, "eval.jsonl"), [_lines(rows)])
    services.blobs.write(paths.run(created.id, "evaluation/rows.jsonl"), [_lines(graded)])
    recipe = Recipe(base_model="droptune/tiny-llama")
    return created.evolve(
        status=Status.DEPLOYING,
        curated=curated,
        recipe=resolve(recipe, "shop", train_rows=1, characters_max=9),
        rollout=RolloutRef(
            endpoint="shop",
            deployment=NEW,
            model="shop:1",
            previous={OLD: 100},
            traffic={OLD: 90, NEW: 10},
            step=1,
        ),
    )


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def probed(draft: Draft) -> DeploymentProbed:
    assert isinstance(draft.data, DeploymentProbed)
    return draft.data


def seen(draft: Draft | None) -> dict[str, Any]:
    assert draft is not None
    counts = ("answers_requested", "answers_failed", "answers_as_evaluated", "answers_unlike_base")
    return {name.removeprefix("answers_"): getattr(draft.data, name) for name in counts}


def test_a_sound_deployment_is_asked_five_questions_and_so_is_the_old_one(
    run: Run, ports: Services, models: Models
) -> None:
    draft = probe_deployment(run, ports)
    assert seen(draft) == {"requested": 5, "failed": 0, "as_evaluated": 5, "unlike_base": 5}
    assert draft is not None
    assert probed(draft).problem is None
    assert models.requests == [(name, f"q{n}") for name in (NEW, OLD) for n in range(1, 6)]


@pytest.mark.parametrize("tokens", [7, 4096])
def test_an_answer_may_be_as_long_as_one_of_the_evaluation_from_the_candidate_and_the_old_one(
    run: Run, ports: Services, models: Models, tokens: int
) -> None:
    """And may take as long as that many tokens do: the client's time follows them (test_chat.py)."""
    requested = run.resolved.requested
    evaluation = requested.evaluation.model_copy(update={"max_new_tokens": tokens})
    recipe = run.resolved.model_copy(update={"requested": requested.model_copy(update={"evaluation": evaluation})})
    probe_deployment(run.evolve(recipe=recipe), ports)
    assert {deployment for deployment, _ in models.requests} == {NEW, OLD}
    assert models.limits == {tokens}


def test_a_failed_request_is_counted_and_the_others_are_asked_all_the_same(
    run: Run, ports: Services, models: Models
) -> None:
    models.fails = {"q2": BUSY}
    draft = probe_deployment(run, ports)
    assert seen(draft) == {"requested": 5, "failed": 1, "as_evaluated": 4, "unlike_base": 4}
    assert draft is not None
    assert probed(draft).problem == BUSY.problem
    assert probed(draft).latency_s == 0.5


def test_after_a_request_that_was_waited_for_in_vain_no_other_is_asked(
    run: Run, ports: Services, models: Models
) -> None:
    """Five of them would take longer than a function may."""
    models.fails = {"q1": UNREACHABLE}
    draft = probe_deployment(run, ports)
    assert seen(draft) == {"requested": 5, "failed": 5, "as_evaluated": 0, "unlike_base": 0}
    assert draft is not None
    assert probed(draft).problem == UNREACHABLE.problem
    assert (probed(draft).latency_s, probed(draft).previous_latency_s) == (None, None)
    assert models.requests == [(NEW, "q1")]


def pair(question: str) -> dict[str, Any]:
    outputs = {name: [{"role": "assistant", "content": name}] for name in ("preferred_output", "non_preferred_output")}
    return {"input": {"messages": [{"role": "user", "content": question}]}, **outputs}


def prompt(question: str) -> dict[str, Any]:
    """Of reinforcement: it continues from an answer that is part of it."""
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "yes?"}]
    return {"messages": [*messages, {"role": "user", "content": question}], "tools": TOOLS}


def not_learned_after(question: str) -> dict[str, Any]:
    messages = [("user", question), ("assistant", "right"), ("user", "Sure?")]
    last = {"role": "assistant", "content": "no", "weight": 0}
    return {"messages": [*({"role": role, "content": text} for role, text in messages), last], "tools": TOOLS}


def pair_with_loop(question: str) -> dict[str, Any]:
    """The question is the result of a tool that the preferred output called."""
    call = {"id": "c1", "type": "function", "function": {"name": "stock", "arguments": "{}"}}
    loop = [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": question, "tool_call_id": "c1"},
    ]
    row = pair("In stock?")
    return {**row, "input": {**row["input"], "tools": TOOLS}, "preferred_output": [*loop, *row["preferred_output"]]}


TOOLS = [{"type": "function", "function": {"name": "stock", "description": "How many", "parameters": {}}}]


@pytest.mark.parametrize("row_of", [pair, prompt, not_learned_after, pair_with_loop])
def test_what_was_evaluated_is_asked_with_its_tools_up_to_the_answer_that_is_wanted(
    row_of: Callable[[str], dict[str, Any]], run: Run, ports: Services, models: Models
) -> None:
    assert run.curated is not None
    ports.blobs.write(paths.curated(run.curated, "eval.jsonl"), [_lines([row_of(f"q{n}") for n in range(1, 8)])])
    assert seen(probe_deployment(run, ports)) == {"requested": 5, "failed": 0, "as_evaluated": 5, "unlike_base": 5}
    assert models.requests == [(name, f"q{n}") for name in (NEW, OLD) for n in range(1, 6)]
    assert models.prompts == [prompt_of(row_of(f"q{n}")) for n in range(1, 6)] * 2
    assert [prompt.tools for prompt in models.prompts] == [None if row_of is pair else TOOLS] * 10


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("which", ["graded", "held out"])
@pytest.mark.parametrize(
    "text",
    [
        b"{not json\n",
        b"\xff\xfe\n",
        b"null\n",
        b"5\n",
        b"[]\n",
        b"{}\n",
        b'{"row": 99, "scores": {}, "answers": {"candidate": "a", "base": "b"}}\n',
        b'{"row": 1, "scores": {}, "answers": {}}\n',
        b'{"messages": 5}\n',
        b'{"messages": []}\n',
        b'{"messages": ["a"]}\n',
        b'{"input": []}\n',
        None,
    ],
)
def test_a_candidate_whose_evaluation_cannot_be_read_is_said_to_be_at_fault(
    run: Run, ports: Services, models: Models, which: str, text: bytes | None
) -> None:
    """Nothing can show any more that it answers as it was evaluated."""
    assert run.curated is not None
    path = {"graded": paths.run(run.id, "evaluation/rows.jsonl"), "held out": paths.curated(run.curated, "eval.jsonl")}
    ports.blobs.delete(path[which])
    if text is not None:
        ports.blobs.write(path[which], [text])
    draft = probe_deployment(run, ports)
    assert draft is not None
    problem = probed(draft).problem
    assert problem is not None
    assert problem.code == ("no_evaluation" if text is None else "unreadable_evaluation")
    assert models.requests == []
    outcome = advance_rollout(event_of(run, probed(draft), run.updated_at), run, ports)
    assert outcome is not None
    assert (outcome.status, problem.code in outcome.note) == (Status.ROLLING_BACK, True)


def test_a_slow_deployment_is_asked_fewer_questions(run: Run, ports: Services, models: Models) -> None:
    draft = probe_deployment(run, ports, answers_s=0)
    assert seen(draft) == {"requested": 1, "failed": 0, "as_evaluated": 1, "unlike_base": 1}
    assert models.requests == [(NEW, "q1"), (OLD, "q1")]
