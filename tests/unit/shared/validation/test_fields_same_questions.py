"""A field with what the rows ask about: named where all rows ask the same, with the setting that reads it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from shared.validation.fields import SameQuestions

LABELS = ("urgent", "routine")


def note(number: int) -> str:
    words = (
        "gas",
        "leak",
        "kitchen",
        "pump",
        "noise",
        "cold",
        "water",
        "heater",
        "bearing",
        "oil",
        "smoke",
        "wall",
        "door",
    )
    return " ".join(words[number * step % 13] for step in (1, 2, 4, 7, 11, 13)) + f" in hall {number}"


def lines(**fields: Any) -> bytes:
    made = ({name: one(n) if callable(one) else one for name, one in fields.items()} for n in range(120))
    return b"\n".join(json.dumps(row).encode() for row in made)


def label(number: int) -> str:
    return LABELS[number % 7 > 2]


def question_of(question: str, answer: Any) -> Any:
    return lambda n: [{"role": "user", "content": question}, {"role": "assistant", "content": answer(n)}]


PAIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "triage": ("note", {"note": note, "question": "What is the triage?", "answer": label}),
    "a free answer": ("transcript", {"transcript": lambda n: note(n) * 3, "instruction": "Summarize.", "output": note}),
    "a field called text": ("text", {"text": lambda n: note(n) * 3, "prompt": "Summarize.", "completion": note}),
    "several questions": ("Ticket body", {"Ticket body": note, "prompt": lambda n: f"Kind {n % 3}?", "answer": label}),
    "shorter fields too": ("note", {"id": str, "name": "Ann Lee", "note": note, "query": "Triage?", "response": label}),
    "with a reason": ("note", {"note": note, "reason": lambda n: note(n) * 2, "question": "?", "answer": label}),
    "as a list": ("lines", {"lines": lambda n: [note(n), "end"], "question": "Triage?", "answer": label}),
}
PREFERENCE = {"note": note, "prompt": "Summarize.", "chosen": note, "rejected": lambda n: f"No {note(n)}"}
MESSAGES = {"note": note, "messages": question_of("What is the triage?", label)}


@pytest.mark.parametrize(("field", "fields"), PAIRS.values(), ids=PAIRS)
def test_a_field_that_tells_equal_questions_apart_is_one_finding_with_the_setting_that_reads_it(
    check, field, fields
) -> None:
    checked = check(lines(**fields))
    (problem,) = [one for one in checked.result.report.problems if one.severity == "error"]
    assert (problem.code, problem.count) == ("case_not_read", 120)
    assert f"field {field}," in problem.message
    assert not {"contradictory_answers", "no_eval_rows", "label_not_held_out"} & checked.codes.keys()
    setting = re.search(r"data: \{.*\}\}", problem.fix)
    assert setting
    again = check(lines(**fields), recipe=setting[0].encode())
    assert again.errors == []
    assert "contradictory_answers" not in again.codes
    assert json.dumps(note(119))[1:-1].encode() in again.train + again.eval


def test_so_it_is_with_a_held_out_file_which_then_is_not_called_a_copy(check) -> None:
    fields = PAIRS["triage"][1]
    checked = check(lines(**fields), lines(**{**fields, "note": lambda n: note(n + 500)}))
    assert checked.errors == ["case_not_read", "case_not_read"]


def test_the_question_of_a_preference_pair_is_one_too(check) -> None:
    assert check(lines(**PREFERENCE), recipe=b"method: {type: dpo}").errors == ["case_not_read"]


@pytest.mark.parametrize(
    "fields", [MESSAGES, {**PAIRS["triage"][1], "context": "Gas board"}], ids=["messages", "context"]
)
def test_where_no_setting_can_read_it_the_field_belongs_into_the_question(check, fields) -> None:
    (problem,) = [one for one in check(lines(**fields)).result.report.problems if one.severity == "error"]
    assert (problem.code, problem.fix.partition(";")[0]) == ("case_not_read", "Put it into the question")


OTHERS: dict[str, dict[str, Any]] = {
    "many questions": {"note": note, "question": lambda n: f"Is {note(n)} urgent?", "answer": label},
    "one answer to each question": {"note": note, "question": lambda n: f"Kind {n % 3}?", "answer": lambda n: n % 3},
    "a field that repeats": {"note": lambda n: note(n % 5), "question": "Triage?", "answer": label},
    "an identifier": {"id": lambda n: f"case-{n}", "question": "Triage?", "answer": label},
    "a remark on a long answer": {"remark": lambda n: f"by author {n}", "prompt": "A poem", "completion": note},
    "a reason alone": {"rationale": note, "question": "Triage?", "answer": label},
}


@pytest.mark.parametrize("fields", OTHERS.values(), ids=OTHERS)
def test_a_field_that_may_say_something_else_is_only_ignored(check, fields) -> None:
    codes = check(lines(**fields)).codes
    assert "case_not_read" not in codes
    assert "ignored_field" in codes or fields["question"] == "?"


def test_nothing_more_is_kept_of_many_questions() -> None:
    seen = SameQuestions()
    for n in range(51):
        seen.add({"note": note(n)}, [{"role": "user", "content": f"{n}"}, {"role": "assistant", "content": ""}], "")
    assert seen.is_settled
    assert seen.field(()) == ""
