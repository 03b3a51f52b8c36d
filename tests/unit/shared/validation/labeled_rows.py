"""Rows for tests of the split: cases and their labels in each place that a model reads, and answers to questions."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.unit.shared.validation.conftest import Checked

Row = dict[str, Any]

NOTES = """fever cough headache rash dizzy swollen ankle bruise cut burn chest pain nausea fatigue fracture sprain sore
throat itch wound migraine tremor numb stiff faint pale sweat chill ache cramp limp bleed vomit choke wheeze snore
""".split()  # noqa: SIM905


def chat(*turns: tuple[str, str], **more: Any) -> Row:
    return {"messages": [{"role": role, "content": text} for role, text in turns], **more}


def lines(rows: Iterable[Row]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def read(part: bytes) -> list[Row]:
    return [json.loads(line) for line in part.splitlines()]


def answer(row: Row) -> str:
    return str(row["messages"][-1]["content"])


def answers(part: bytes) -> Counter[str]:
    return Counter(map(answer, read(part)))


def message_of(checked: Checked, code: str) -> str:
    return next(problem.message for problem in checked.result.report.problems if problem.code == code)


def note(chance: random.Random, words: int = 12) -> str:
    return " ".join(chance.choices(NOTES, k=words))


def in_system(text: str, label: str) -> Row:
    return chat(("system", f"Note: {text}"), ("user", "What is the triage?"), ("assistant", label))


def in_tools(text: str, label: str) -> Row:
    tool = {"type": "function", "function": {"name": "note", "description": text, "parameters": {"type": "object"}}}
    return {**chat(("user", "Triage?"), ("assistant", label)), "tools": [tool]}


def in_template(text: str, label: str) -> Row:
    """The same instruction before each case, as prompts for classification have it."""
    rules = "Read the note and answer with one word: " + " ".join(f"rule{n}" for n in range(90))
    return chat(("user", f"{rules}\n\n{text}"), ("assistant", label))


BY_WARD = b"data: {split_group: ward}"


def pairs(question: str, number: int) -> Row:
    return {"prompt": question, "chosen": f"yes {number}", "rejected": f"no {number}"}


def openai_pairs(question: str, number: int) -> Row:
    outputs = ("preferred_output", f"yes {number}"), ("non_preferred_output", f"no {number}")
    answers = {name: [{"role": "assistant", "content": text}] for name, text in outputs}
    return {"input": {"messages": [{"role": "user", "content": question}]}, **answers}


def answered(question: str, number: int) -> Row:
    return chat(("user", question), ("assistant", f"text {number}"))


def prompts(question: str, number: int) -> Row:
    return {"prompt": question, "answer": f"text {number}"}


METHODS = {pairs: "dpo", openai_pairs: "dpo", prompts: "reinforcement"}


def recipe_of(rows: Any, data: str = "") -> bytes:
    method = METHODS.get(rows, "supervised")
    graders = ", graders: [{name: like, type: string_check, operation: ilike}]" if method == "reinforcement" else ""
    return f"method: {{type: {method}{graders}}}\n{data}".encode()


def turns(case: int, count: int, *, weights: bool = False, system: str = "") -> list[Row]:
    """A dialogue written out turn by turn: the first of `count` turns, the first two, and so on."""
    messages: list[Row] = [{"role": "system", "content": system}] if system else []
    rows = []
    for turn in range(count):
        messages += [{"role": "user", "content": f"case {case} asks {turn}"}]
        answer: Row = {"role": "assistant", "content": f"case {case} gets {turn}"}
        rows.append({"messages": [*messages, answer], "case": case})
        messages += [{**answer, "weight": 0} if weights else answer]
    return rows
