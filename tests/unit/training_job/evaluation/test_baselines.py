"""Answers without a model: the most frequent, the nearest and those of a lookup."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import orjson
import pytest

from shared.domain.graders import StringCheck
from training_job.evaluation.baselines import BaselineAnswers, baseline_answers

EXACT = (StringCheck(name="exact"),)


def answers(folder: Path, rows: list[Any], prompts: list[str], graders: Any = EXACT) -> BaselineAnswers:
    file = folder / "train.jsonl"
    file.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return baseline_answers(file, prompts, graders)


def chat(prompt: str, answer: str | None) -> Any:
    turns = [{"role": "user", "content": prompt}]
    return {"messages": turns if answer is None else [*turns, {"role": "assistant", "content": answer}]}


ROWS = [chat("red box", "A"), chat("red bag", "A"), chat("a tall green tree", "B"), chat("blue sky", "C")]


def test_the_most_frequent_answer_and_that_of_the_nearest_prompt_are_given(tmp_path: Path) -> None:
    found = answers(tmp_path, ROWS, ["green tree", "the sky", "?"]).texts
    assert found["majority"] == ["A"] * 3
    assert found["nearest_neighbor"][:2] == ["B", "C"]
    assert set(found) == {"majority", "nearest_neighbor", "lookup"}


def test_the_order_of_the_training_rows_changes_nothing(tmp_path: Path) -> None:
    rows = [*ROWS, *(chat(f"box {n}", f"N {n % 7}") for n in range(40))]
    prompts = ["box 3 red", "green", "none", "box", "7 tall"]
    first = answers(tmp_path, rows, prompts)
    random.Random(3).shuffle(rows)
    assert answers(tmp_path, rows, prompts) == first


@pytest.mark.parametrize(
    "row",
    [
        chat("red box", None),
        {"text": "red box"},
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": []}]},
    ],
    ids=["a prompt", "a text", "a call"],
)
def test_rows_without_an_answer_give_no_baselines(row: Any, tmp_path: Path) -> None:
    found = answers(tmp_path, [row], ["red box"])
    assert found == BaselineAnswers(reason="the training rows have no answers")


def test_a_preference_pair_gives_the_preferred_answer(tmp_path: Path) -> None:
    outputs = {name: [{"role": "assistant", "content": name}] for name in ("preferred_output", "non_preferred_output")}
    pair = {"input": {"messages": [{"role": "user", "content": "x"}]}, **outputs}
    assert answers(tmp_path, [pair], ["x"]).texts["nearest_neighbor"] == ["preferred_output"]


def test_no_judge_is_asked_about_baselines(tmp_path: Path) -> None:
    from pydantic import TypeAdapter

    from shared.domain.graders import Grader

    spec = {"name": "a", "type": "score_model", "endpoint": "judge", "input": [{"role": "user", "content": "x"}]}
    judge = TypeAdapter[Any](Grader).validate_python(spec)
    assert answers(tmp_path, ROWS, ["x"], (judge,)).reason == "a judge is asked about models only"
