"""Rows that belong together: copies, near duplicates, answers to one question, turns of one dialogue."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest

from shared.validation.content.near_duplicates import Sketch, similar, sketch
from shared.validation.keys import Keys, RowKeys
from shared.validation.split import Split, assignments, split_rows
from tests.unit.shared.validation.conftest import Check
from tests.unit.shared.validation.labeled_rows import (
    BY_WARD,
    Row,
    answered,
    chat,
    in_system,
    in_template,
    in_tools,
    lines,
    message_of,
    note,
    openai_pairs,
    pairs,
    prompts,
    read,
    recipe_of,
    turns,
)


def test_a_long_system_message_that_all_rows_share_makes_none_alike(check: Check) -> None:
    chance = random.Random(5)
    rules = " ".join(f"rule{n}" for n in range(400))
    rows = [chat(("system", rules), ("user", note(chance)), ("assistant", f"part {n}")) for n in range(200)]
    assert check(lines(rows)).codes == {}


def test_an_instruction_that_stands_before_each_case_makes_none_alike_and_copies_of_a_case_are_kept_together(
    check: Check,
) -> None:
    chance = random.Random(10)
    cases = [note(chance, 40) for _ in range(150)]
    labels = ("urgent", "routine", "discharge")
    rows = [
        {**in_template(f"{text} {version}", labels[case % 3]), "case": case}
        for version in range(2)
        for case, text in enumerate(cases)
    ]
    checked = check(lines(rows))
    assert "near_duplicates_split" not in checked.codes
    train, held_out = ({row["item"]["case"] for row in read(part)} for part in (checked.train, checked.eval))
    assert (len(read(checked.eval)), train & held_out) == (30, set())


@pytest.mark.parametrize("place", ["system", "user"])
def test_near_duplicates_of_a_context_are_in_one_split(check: Check, place: str) -> None:
    def row(case: int, version: int) -> Row:
        text = " ".join(f"w{case}x{n}" for n in range(80)) + f" {version}"
        before = [("system", text), ("user", "Is it open?")] if place == "system" else [("user", text)]
        return chat(*before, ("assistant", ("yes", "no")[case % 2]), case=case)

    checked = check(lines(row(case, version) for version in range(3) for case in range(100)))
    assert checked.errors == []
    train, held_out = ({row["item"]["case"] for row in read(part)} for part in (checked.train, checked.eval))
    assert (len(read(checked.eval)), train & held_out) == (30, set())


def test_rows_that_say_the_same_in_two_groups_join_the_groups_in_any_order(check: Check) -> None:
    def row(text: str, ward: str) -> Row:
        return chat(("user", f"question {text}?"), ("assistant", f"answer {text}"), ward=ward)

    rows = []  # of wards in threes: the first and the third share a row with the second
    for n in range(100):
        shared = (f"{n} one", f"{n} two")
        rows += [row(shared[0], f"a{n}"), row(shared[0], f"b{n}"), row(shared[1], f"b{n}"), row(shared[1], f"c{n}")]
    first, again = (check(lines(ordered), recipe=BY_WARD) for ordered in (rows, rows[::-1]))
    train, held_out = ({row["item"]["ward"][1:] for row in read(part)} for part in (first.train, first.eval))
    assert (len(held_out), train & held_out) == (10, set())
    assert {row["item"]["ward"][1:] for row in read(again.eval)} == held_out


def answered_after_a_turn(question: str, number: int) -> Row:
    return chat(("user", "Hello"), ("assistant", "Yes?"), ("user", question), ("assistant", f"text {number}"))


def answered_with_tools(question: str, number: int) -> Row:
    return in_tools(question, f"text {number}")


def answered_in_system(question: str, number: int) -> Row:
    return in_system(question, f"text {number}")


def question_of(row: Row) -> str:
    """All that is read before the answer, of a canonical row."""
    document = row.get("input", row)
    messages = document["messages"]
    return json.dumps([messages[:-1] if messages[-1]["role"] == "assistant" else messages, document.get("tools")])


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(
    "made",
    [pairs, openai_pairs, answered, answered_after_a_turn, answered_with_tools, answered_in_system, prompts],
)
def test_all_answers_to_one_question_are_in_one_split(check: Check, made: Any) -> None:
    rows = [made(f"question {n % 60} of {n % 60}", n) for n in range(240)]
    first, again = (check(lines(ordered), recipe=recipe_of(made)) for ordered in (rows, rows[::-1]))
    train, held_out = ({question_of(row) for row in read(part)} for part in (first.train, first.eval))
    assert first.errors == []
    assert "same_question_split" not in first.codes
    # Rows that only ask are copies of each other: the gate gets twenty that are none.
    expected = (20, 80) if made is prompts else (6, 24)
    assert (len(held_out), len(read(first.eval)), train & held_out) == (*expected, set())
    assert {question_of(row) for row in read(again.eval)} == held_out


@pytest.mark.parametrize("made", [pairs, answered])
def test_one_question_for_all_rows_is_separated_with_a_warning(check: Check, made: Any) -> None:
    checked = check(lines(made("Tell a joke", n) for n in range(240)), recipe=recipe_of(made))
    assert checked.errors == []
    assert len(read(checked.eval)) == 24
    assert "240 rows" in message_of(checked, "same_question_split")


def test_of_questions_only_those_too_large_for_the_share_are_separated(check: Check) -> None:
    rows = [answered("Tell a joke" if n % 4 else f"question {n // 8}", n) for n in range(240)]
    checked = check(lines(rows))
    train, held_out = ({question_of(row) for row in read(part)} for part in (checked.train, checked.eval))
    assert len(read(checked.eval)) == 24
    assert {question for question in train & held_out if "question" in question} == set()


def pairs_by_turn(case: int, count: int) -> list[Row]:
    """The dialogue continues after the preferred answer."""
    rows = []
    for row in turns(case, count):
        *prompt, answer = row["messages"]
        bad = {"role": "assistant", "content": f"no {answer['content']}"}
        outputs = {"preferred_output": [answer], "non_preferred_output": [bad]}
        rows.append({"input": {"messages": prompt}, **outputs, "case": case})
    return rows


def prompts_by_turn(case: int, count: int) -> list[Row]:
    return [{"messages": row["messages"][:-1], "answer": f"{case} {n}"} for n, row in enumerate(turns(case, count))]


DIALOGUES: dict[str, tuple[Any, Any]] = {
    "turns": (turns, None),
    "turns with weights": (lambda case, count: turns(case, count, weights=True), None),
    "turns after one system message": (lambda case, count: turns(case, count, system="Be kind."), None),
    "the second and the last turn alone": (lambda case, count: turns(case, count)[1::2], None),
    "pairs": (pairs_by_turn, pairs),
    "prompts": (prompts_by_turn, prompts),
}


def case_of(row: Row) -> str:
    messages = row.get("input", row)["messages"]
    return str(next(message["content"] for message in messages if message["role"] == "user").split()[1])


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("made", "method"), DIALOGUES.values(), ids=DIALOGUES.keys())
def test_a_dialogue_that_is_written_out_turn_by_turn_is_in_one_split(check: Check, made: Any, method: Any) -> None:
    rows = [row for case in range(100) for row in made(case, 4)]
    shuffled = random.Random(11).sample(rows, len(rows))
    first, again = (check(lines(ordered), recipe=recipe_of(method)) for ordered in (rows, shuffled))
    train, held_out = ({case_of(row) for row in read(part)} for part in (first.train, first.eval))
    assert first.errors == []
    assert (len(held_out), train & held_out) == (10, set())
    assert sorted(again.eval.splitlines()) == sorted(first.eval.splitlines())


def test_dialogues_that_only_begin_alike_are_not_kept_together(check: Check) -> None:
    rows = [answered_after_a_turn(f"question {n}", n) for n in range(240)]
    checked = check(lines(rows))
    assert (checked.errors, len(read(checked.eval))) == ([], 24)
    assert "same_question_split" not in checked.codes


def branches(count: int) -> list[Row]:
    """A greeting as a row of its own, and dialogues that continue from it."""
    greeting = ("user", "Hello"), ("assistant", "Yes?")
    return [
        chat(*greeting),
        *(chat(*greeting, ("user", f"question {n}"), ("assistant", f"text {n}")) for n in range(count)),
    ]


@pytest.mark.parametrize(("count", "joined"), [(2, True), (16, True), (17, False), (150, False)])
def test_a_tree_of_dialogues_stays_together_and_a_greeting_joins_none(check: Check, count: int, joined: bool) -> None:
    others = [answered(f"question {n} alone", n) for n in range(300 - count)]
    checked = check(lines(branches(count) + others), recipe=b"data: {validation_split: 0.3}")
    train, held_out = (sum(len(row["messages"]) > 2 for row in read(part)) for part in (checked.train, checked.eval))
    assert (checked.errors, len(read(checked.eval)), train + held_out) == ([], 90, count)
    assert bool(train and held_out) != joined


@pytest.mark.parametrize(("count", "code"), [(16, "train_eval_overlap"), (17, "train_eval_same_question")])
def test_a_held_out_greeting_refuses_no_dialogues(check: Check, count: int, code: str) -> None:
    train = [answered(f"question {n} alone", n) for n in range(60)]
    held_out = [answered(f"question {n} alone", n) for n in range(100, 130)]
    codes = check(lines(train + branches(count)[1:]), lines(held_out + branches(0))).codes
    assert set(codes) - {"near_duplicate"} == {code}


def test_plain_text_asks_nothing_so_its_rows_are_not_kept_together() -> None:
    with Keys() as keys:
        for number in range(1, 101):
            keys.add("train", RowKeys(number.to_bytes(16), number.to_bytes(16), number * 2**50, 0, number, 0))
        split = split_rows(keys, 0.1, 2, by_field=False)
    assert (split.units, split.held_out, split.separated_questions) == (100, 10, 0)


LABEL_FILES: dict[str, tuple[slice, slice, str]] = {
    "a training row continues after a held-out answer": (slice(2, 3), slice(0, 1), "train_eval_overlap"),
    "a held-out row continues after a training row": (slice(0, 1), slice(2, 3), "train_eval_same_question"),
    "the same row": (slice(1, 2), slice(1, 2), "train_eval_overlap"),
    "a dialogue for itself": (slice(0, 3), slice(0, 0), ""),
}


@pytest.mark.parametrize(("train", "held_out", "code"), LABEL_FILES.values(), ids=LABEL_FILES.keys())
def test_a_dialogue_may_not_go_on_in_the_other_file(check: Check, train: slice, held_out: slice, code: str) -> None:
    others = [row for case in range(20) for row in turns(case, 3)]
    held_out_rows = [row for case in range(100, 120) for row in turns(case, 3)]
    planted = turns(1000, 3)
    codes = check(lines([*others, *planted[train]]), lines([*held_out_rows, *planted[held_out]])).codes
    found = {name: rows for name, rows in codes.items() if name in ("train_eval_overlap", "train_eval_same_question")}
    assert found == ({code: (61,)} if code else {})


@pytest.mark.parametrize("made", [pairs, answered])
def test_a_held_out_question_that_is_trained_with_another_answer_is_named(check: Check, made: Any) -> None:
    train = [made(f"question {n}", n) for n in range(60)]
    held_out = [made(f"question {n}", n + 1000) for n in (7, *range(100, 130))]
    assert check(lines(train), lines(held_out), recipe_of(made)).codes["train_eval_same_question"] == (8,)


def test_a_turn_of_weight_0_is_not_learned_so_it_is_no_held_out_answer(check: Check) -> None:
    train = [row for case in range(20) for row in turns(case, 3)] + turns(1000, 3, weights=True)[2:]
    held_out = [row for case in range(100, 120) for row in turns(case, 3)] + turns(1000, 1)
    codes = check(lines(train), lines(held_out)).codes
    assert (codes.get("train_eval_overlap"), codes.get("train_eval_same_question")) == (None, (61,))


def held_out_of(rows: list[RowKeys], share: float = 0.1, needed: int = 2) -> tuple[Split, set[int]]:
    with Keys() as keys:
        for row in rows:
            keys.add("train", row)
        split = split_rows(keys, share, needed, by_field=False)
        return split, {number for number, _, held_out in assignments(keys) if held_out}


def test_a_row_that_is_like_two_others_groups_them() -> None:
    def row(number: int, found: Sketch) -> RowKeys:
        key = number.to_bytes(16)
        return RowKeys(key, key, number * 2**50, 0, number, 0, found)

    rows: list[RowKeys] = []
    for case in itertools.count():
        words = [f"w{case}x{n}" for n in range(80)]
        first, second, both = sketch(words[:70], 1), sketch(words[10:], 2), sketch(words[10:70], 3)
        if similar(first.low, both.low) and similar(second.low, both.low) and not similar(first.low, second.low):
            rows += [row(len(rows) + more, each) for more, each in enumerate((first, second, both), start=1)]
        if len(rows) == 300:
            break
    for ordered in (rows, rows[::-1]):
        split, held_out = held_out_of(ordered)
        assert split.held_out == len(held_out) == 30
        assert len({(number - 1) // 3 for number in held_out}) == 10
