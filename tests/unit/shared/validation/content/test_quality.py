"""Contradictions, questions for facts, and rows of unusual length."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from typing import Any

from shared.validation.content.quality import asks_for_fact
from tests.unit.shared.validation.content.scanned import prose, row, scanned


def test_two_answers_to_one_prompt_are_a_contradiction() -> None:
    problems = scanned(
        [row("Is valve 4 open?", "Yes."), row("is valve 4  open?", "No."), row("Is valve 4 open?", "yes.")]
    )
    assert problems["contradictory_answers"].rows == (2,)


def test_rows_that_ask_for_facts_are_said_to_want_retrieval() -> None:
    chance = random.Random(10)
    facts = [
        row(f"When was the policy {number} of the {prose(chance, 4)} signed?", f"In {1900 + number}, section {number}.")
        for number in range(60)
    ]
    tasks = [row(f"Rewrite this politely: {prose(chance)}", prose(chance, 25)) for _ in range(60)]
    problem = scanned(facts + tasks)["fact_lookup"]
    assert problem.message.startswith("50 % of the rows")
    assert "fact_lookup" not in scanned(tasks)


# The question, the answer, and what else the model reads before it.
GROUNDED = [
    ("When was it signed?", "In March 1987.", "The contract was signed in March 1987 in Bonn."),
    ("Passage: Ada lives in Bonn.\nWhere does Ada live?", "Ada lives in Bonn.", ""),
    ("Which is larger, 5 or 7?", "7", ""),
    ("What is 17 + 25?", "42", ""),
    ("What is 17 times 3?", "It is 51.", ""),
    ("How much is 12 % of 50?", "6", ""),
    ("Is valve 4 open?", "Yes, since 1987.", ""),
    ("What is it?", "a pump", ""),
]
FACTS = [
    ("When was it signed?", "In March 1987.", "The contract was signed in Bonn."),
    ("What is the limit of pump 12-4?", "It is 51.", ""),
    ("Wer leitet Halle 3?", "Frau Kern.", ""),
    ("Which hall is part 7 in?", "Hall 12", ""),
]


def test_only_what_is_neither_read_nor_computed_is_a_fact_to_look_up() -> None:
    assert [case for case in GROUNDED if asks_for_fact(*case)] == []
    assert [case for case in FACTS if not asks_for_fact(*case)] == []


def test_rows_that_answer_a_question_with_a_call_look_nothing_up_in_the_model() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "parts", "arguments": ""}}
    rows = [row(f"How many parts has machine {n}?", "", tool_calls=[deepcopy(call)]) for n in range(60)]
    for number, (_, answer) in enumerate(rows):
        answer["tool_calls"][0]["function"]["arguments"] = f'{{"machine": {number + 1000}}}'
    assert "fact_lookup" not in scanned(rows)


SAME = "How many seals has pump 4 in hall 9?"
REINFORCEMENT = b"method: {type: reinforcement, graders: [{name: same, type: string_check}]}"


def pair(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


PAIRS = [pair(f"Why does part {n * 7} fail?", f"Its seal {n} leaks.", f"No idea {n}.") for n in range(60)]
PROMPTS = [{"prompt": f"How many are {n} and {n * 17}?", "answer": str(n * 18)} for n in range(60)]
TOOL_PROMPT = [{"role": "system", "content": "Count."}, {"role": "user", "content": SAME}]
# Two rows of one prompt, and whether the second contradicts the first.
TWO_ROWS = {
    "a pair and its reverse": (pair(SAME, "Two.", "Three."), pair(SAME, "Three.", "Two."), True),
    "in other capitals": (pair(SAME, "Two.", "Three."), pair(SAME.upper(), "three.", " two."), True),
    "of dialogues": (
        {**pair("", "", ""), "prompt": TOOL_PROMPT, "chosen": [{"role": "assistant", "content": "Two."}],
         "rejected": [{"role": "assistant", "content": "Three."}]},
        {**pair("", "", ""), "prompt": TOOL_PROMPT, "chosen": [{"role": "assistant", "content": "Three."}],
         "rejected": [{"role": "assistant", "content": "Two."}]},
        True,
    ),
    "two pairs of a ranking": (pair(SAME, "Two.", "Three."), pair(SAME, "Three.", "A few."), False),
    "the best of several": (pair(SAME, "Two.", "Three."), pair(SAME, "Two.", "A few."), False),
    "the same pair twice": (pair(SAME, "Two.", "Three."), pair(SAME, "Two.", "Three."), False),
    "another question": (pair(SAME, "Two.", "Three."), pair(SAME + " Now?", "Three.", "Two."), False),
    "two references": ({"prompt": SAME, "answer": "2"}, {"prompt": SAME, "answer": "3"}, True),
    "two long references": ({"prompt": SAME, "answer": "2 " * 300}, {"prompt": SAME, "answer": "3 " * 300}, True),
    "of messages": ({"prompt": TOOL_PROMPT, "answer": "2"}, {"prompt": TOOL_PROMPT, "answer": "3"}, True),
    "one reference": ({"prompt": SAME, "answer": "2"}, {"prompt": SAME, "answer": " 2"}, False),
    "another system text": ({"prompt": TOOL_PROMPT, "answer": "2"}, {"prompt": TOOL_PROMPT[1:], "answer": "3"}, False),
}  # fmt: skip


def test_pairs_and_references_that_contradict_an_earlier_row_are_found(check) -> None:
    wrong = []
    for name, (one, other, contradicts) in TWO_ROWS.items():
        rows, recipe = (PAIRS, b"method: {type: dpo}") if "chosen" in one else (PROMPTS, REINFORCEMENT)
        checked = check(b"\n".join(json.dumps(row).encode() for row in [*rows[:20], one, other]), recipe=recipe)
        found = checked.codes.get("contradictory_answers")
        if found != ((22,) if contradicts else None):
            wrong.append((name, checked.codes))
    assert wrong == []


def test_a_row_far_longer_than_the_rest_is_named() -> None:
    chance = random.Random(11)
    rows = [row(prose(chance), prose(chance)) for _ in range(60)]
    rows[41] = row(prose(chance, 2_000), prose(chance))
    assert scanned(rows)["length_outlier"].rows == (42,)
