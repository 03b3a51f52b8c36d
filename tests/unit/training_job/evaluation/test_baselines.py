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


MACHINES = ["\u7532\u673a", "\u4e59\u7089", "\u4e19\u8f66", "\u4e01\u5e8a"]
REMEDIES = {"\u6f0f\u6c34": "\u5bc6\u5c01", "\u566a\u97f3": "\u52a0\u6cb9", "\u751f\u9508": "\u6e05\u6d01"}


def test_words_without_blanks_between_them_are_looked_up_too(tmp_path: Path) -> None:
    noise = random.Random(3)
    rows = [
        (f"{chr(0x5000 + noise.randrange(999))}{machine}\u51fa\u73b0{fault}\u4e86", f"{machine}\uff1a{remedy}")
        for machine in MACHINES
        for fault, remedy in REMEDIES.items()
        for _ in range(9)
    ]
    noise.shuffle(rows)
    found = answers(tmp_path, [chat(*row) for row in rows[20:]], [prompt for prompt, _ in rows[:20]]).texts
    right = {name: sum(map(str.__eq__, texts, [one for _, one in rows[:20]])) for name, texts in found.items()}
    assert right["lookup"] == 20
    assert right["nearest_neighbor"] >= 15


def test_prompts_without_words_have_baselines(tmp_path: Path) -> None:
    found = answers(tmp_path, [chat("", "A")], [""]).texts
    assert found == {"majority": ["A"], "nearest_neighbor": ["A"], "lookup": ["A"]}


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
