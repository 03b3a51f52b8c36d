"""A held-out file of another kind than the training file is one finding, with the figures of both."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from shared.validation.content.quality import differences, kind_of

ANSWER = "The pump of machine {} should be checked by the operator before the morning shift begins."
TOOL = {"type": "function", "function": {"name": "find", "parameters": {}}}


def row(number: int, answer: str = ANSWER, system: str = "", earlier: int = 0) -> list[dict[str, Any]]:
    turns = [("system", system)] if system else []
    turns += [("user", f"Is it on, {number}?"), ("assistant", "It is.")] * earlier
    turns += [("user", f"How do I treat machine {number} in hall {number * 7}?")]
    turns += [("assistant", answer.replace("{}", str(number)))]
    return [{"role": role, "content": content} for role, content in turns]


def kinds(rows: list[list[dict[str, Any]]], language: str = "en", tools: Any = None) -> Counter[Any]:
    return Counter(kind_of(language, messages, tools) for messages in rows)


TRAIN = kinds([row(n) for n in range(90)])
# Held-out rows beside those of `TRAIN`, and the words of what differs.
OTHER: dict[str, tuple[Counter[Any], str | None]] = {
    "the same": (kinds([row(n) for n in range(30)]), None),
    "no rows": (kinds([]), None),
    "few rows": (kinds([row(n, system="Be brief.") for n in range(9)]), None),
    "a system text": (
        kinds([row(n, system="Be brief.") for n in range(30)]),
        "a system message in 0% of the training rows and 100% of the held-out rows",
    ),
    "a system text in some": (kinds([row(n, system="Be brief." * (n % 3 == 0)) for n in range(30)]), None),
    "tools": (
        kinds([row(n) for n in range(30)], tools=[TOOL]),
        "tools in 0% of the training rows and 100% of the held-out rows",
    ),
    "dialogues": (
        kinds([row(n, earlier=2) for n in range(30)]),
        "earlier turns in 0% of the training rows and 100% of the held-out rows",
    ),
    "JSON": (
        kinds([row(n, json.dumps([ANSWER])) for n in range(30)]),
        "an answer in JSON in 0% of the training rows and 100% of the held-out rows",
    ),
    "another language": (
        kinds([row(n) for n in range(30)], "de"),
        "most training rows in en and most held-out rows in de",
    ),
    "languages taken for each other": (kinds([row(n) for n in range(30)], "sco"), None),
    "of no known language": (kinds([row(n) for n in range(30)], "unknown"), None),
    "short answers": (
        kinds([row(n, "oil") for n in range(30)]),
        "a median answer of 88 characters in training and of 3 held out",
    ),
    "long answers": (
        kinds([row(n, ANSWER * 9) for n in range(30)]),
        "a median answer of 88 characters in training and of 768 held out",
    ),
    "longer answers": (kinds([row(n, ANSWER * 2) for n in range(30)]), None),
    "prompts alone": (kinds([row(n)[:1] for n in range(30)]), None),
}


def test_what_differs_is_told_with_the_figures_of_both_parts() -> None:
    found = {name: list(differences(TRAIN, held_out)) for name, (held_out, _) in OTHER.items()}
    assert found == {name: [words] if words else [] for name, (_, words) in OTHER.items()}


def test_short_labels_may_have_any_length() -> None:
    yes, no = (kinds([row(n, answer) for n in range(30)]) for answer in ("a", "a shelf by the wall"))
    assert list(differences(yes, no)) == []


def test_files_of_two_kinds_are_one_warning(check) -> None:
    def lines(count: int, **options: Any) -> bytes:
        return b"\n".join(json.dumps({"messages": row(n, **options)}).encode() for n in range(count))

    other = lines(30, answer='{"part": {}}').replace(b"How do I treat", b"What is")
    checked = check(lines(90, system="Be brief."), other)
    found = [one for one in checked.result.report.problems if one.code == "eval_differs"]
    assert [(one.severity, one.file, one.count) for one in found] == [("warning", "eval", 1)]
    assert "a system message in 100% of the training rows and 0% of the held-out rows; an answer in" in found[0].message
    assert "eval_differs" not in check(lines(90), lines(30).replace(b"How do I treat", b"What is")).codes


def test_copies_of_a_held_out_row_count_once_for_the_gate(check) -> None:
    def lines(numbers: list[int], ask: str) -> bytes:
        return b"\n".join(
            json.dumps({"prompt": f"{ask} part {n}?", "completion": f"Hall {n}."}).encode() for n in numbers
        )

    train = lines([*range(90)], "Where is")
    for numbers, errors in (
        ([1] * 40, ["few_eval_rows"]),
        ([*range(19)] * 2, ["few_eval_rows"]),
        ([*range(20)] * 2, []),
    ):
        checked = check(train, lines(numbers, "Who has"))
        assert checked.errors == errors
        assert ("duplicate_row" in checked.codes) == (not errors)
    (found,) = [
        one for one in check(train, lines([1] * 40, "Who has")).result.report.problems if one.severity == "error"
    ]
    assert "40 held-out rows, 1 without copies, and the gate needs 20" in found.message
    assert found.rows[:2] == (2, 3)
