"""The split: labels in both splits, rows that belong together in one, the share, and any order of the rows."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pytest

from shared.validation.content.near_duplicates import Sketch, similar, sketch
from shared.validation.keys import Keys, RowKeys
from shared.validation.split import Split, assignments, split_rows
from tests.unit.shared.validation.conftest import Check, Checked

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


def in_developer(text: str, label: str) -> Row:
    return chat(("developer", text), ("user", "Triage?"), ("assistant", label))


def in_tool_result(text: str, label: str) -> Row:
    call = {"id": "c1", "type": "function", "function": {"name": "read_note", "arguments": "{}"}}
    tool = {"type": "function", "function": {"name": "read_note", "parameters": {"type": "object", "properties": {}}}}
    messages = [
        {"role": "user", "content": "Triage?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": text},
        {"role": "assistant", "content": label},
    ]
    return {"messages": messages, "tools": [tool]}


def in_tools(text: str, label: str) -> Row:
    tool = {"type": "function", "function": {"name": "note", "description": text, "parameters": {"type": "object"}}}
    return {**chat(("user", "Triage?"), ("assistant", label)), "tools": [tool]}


def in_user(text: str, label: str) -> Row:
    return chat(("user", f"Triage of: {text}?"), ("assistant", label))


def in_template(text: str, label: str) -> Row:
    """The same instruction before each case, as prompts for classification have it."""
    rules = "Read the note and answer with one word: " + " ".join(f"rule{n}" for n in range(90))
    return chat(("user", f"{rules}\n\n{text}"), ("assistant", label))


def in_an_earlier_answer(text: str, label: str) -> Row:
    return chat(("user", "Note?"), ("assistant", text), ("user", "Triage?"), ("assistant", label))


CARRIERS: tuple[Callable[[str, str], Row], ...] = (
    in_system,
    in_developer,
    in_tool_result,
    in_tools,
    in_user,
    in_template,
    in_an_earlier_answer,
)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_the_split_is_decided_by_what_the_model_reads_wherever_it_stands(check: Check, carrier: Any) -> None:
    chance = random.Random(1)
    labels = ("urgent", "routine", "discharge")
    checked = check(lines(carrier(f"{note(chance)} {n}", labels[n % 3]) for n in range(600)))
    assert checked.errors == []
    assert answers(checked.train) == dict.fromkeys(labels, 180)
    assert answers(checked.eval) == dict.fromkeys(labels, 20)


def test_unbalanced_labels_keep_their_shares_in_both_splits(check: Check) -> None:
    chance = random.Random(2)
    labels = ["urgent"] * 540 + ["routine"] * 42 + ["discharge"] * 18
    checked = check(lines(in_system(f"{note(chance)} {n}", label) for n, label in enumerate(labels)))
    assert answers(checked.eval) == {"urgent": 54, "routine": 4, "discharge": 2}


@pytest.mark.parametrize("carrier", [in_system, in_developer, in_tool_result, in_tools])
def test_rows_of_another_context_are_no_copies_of_held_out_rows(check: Check, carrier: Any) -> None:
    chance = random.Random(3)
    train = [carrier(f"hall {n}: {note(chance)}", ("yes", "no")[n % 2]) for n in range(60)]
    held_out = [carrier(f"hall {n}: {note(chance)}", ("yes", "no")[n % 2]) for n in range(100, 120)]
    assert check(lines(train), lines(held_out)).codes == {}


COPIES: dict[str, Callable[[Row], Row]] = {
    "the row itself": lambda row: row,
    "other fields": lambda row: {**row, "id": 7},
    "blanks around a text": lambda row: {
        **row,
        "messages": [*row["messages"][:-1], {"role": "assistant", "content": f" {answer(row)}\n"}],
    },
    "another id of the call": lambda row: json.loads(json.dumps(row).replace('"c1"', '"call-9"')),
}


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES.keys())
def test_a_copy_of_a_held_out_row_is_found_wherever_its_text_stands(check: Check, carrier: Any, copy: Any) -> None:
    chance = random.Random(4)
    rows = [carrier(f"hall {n}: {note(chance)}", ("yes", "no")[n % 2]) for n in range(81)]
    checked = check(lines([*rows[:60], copy(rows[70])]), lines(rows[60:80]))
    assert checked.codes["train_eval_overlap"] == (61,)
    assert checked.errors == ["train_eval_overlap"]


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


def questions(count: int, **more: Any) -> list[Row]:
    return [chat(("user", f"Which part is {n}?"), ("assistant", f"part {n}"), **more) for n in range(count)]


@pytest.mark.parametrize(
    ("count", "recipe", "held_out", "grown"),
    [
        (600, b"", 60, False),
        (120, b"", 20, True),
        (50, b"", 20, True),
        (120, b"evaluation: {gate: {min_rows: 40}}", 40, True),
        (120, b"evaluation: {gate: {min_rows: 2}}", 12, False),
        (120, b"data: {validation_split: 0.3}", 36, False),
        (12, b"evaluation: {gate: {min_rows: 2}}", 2, True),
    ],
)
def test_the_held_out_share_grows_to_what_the_gate_needs_and_the_report_says_so(
    check: Check, count: int, recipe: bytes, held_out: int, grown: bool
) -> None:
    checked = check(lines(questions(count)), recipe=recipe)
    assert checked.errors == []
    assert checked.result.report.statistics.eval_rows == held_out
    assert ("held_out_share" in checked.codes) == grown


def test_growth_is_reported_with_both_numbers_and_the_reason(check: Check) -> None:
    assert message_of(check(lines(questions(120))), "held_out_share") == (
        "20 of 120 rows (17%) are held out, data.validation_split: 0.1 asks for 12 (10%). "
        "The gate needs 20 (evaluation.gate.min_rows)."
    )


@pytest.mark.parametrize(
    ("count", "recipe"),
    [(49, b""), (40, b""), (10, b""), (120, b"evaluation: {gate: {min_rows: 49}}")],
)
def test_a_dataset_that_is_too_small_for_its_gate_is_refused(check: Check, count: int, recipe: bytes) -> None:
    assert check(lines(questions(count)), recipe=recipe).errors == ["few_eval_rows"]


def in_groups(*sizes: int, label: Callable[[int, int], str] = lambda group, n: f"part {group} {n}") -> list[Row]:
    """Rows of groups of these sizes."""
    return [
        chat(("user", f"Which part is {group} {n}?"), ("assistant", label(group, n)), ward=f"w{group}")
        for group, size in enumerate(sizes)
        for n in range(size)
    ]


BY_WARD = b"data: {split_group: ward}"


def test_of_three_equal_groups_one_is_held_out_and_the_report_says_how_many_rows_that_are(check: Check) -> None:
    checked = check(lines(in_groups(40, 40, 40)), recipe=BY_WARD)
    assert checked.errors == []
    assert checked.result.report.statistics.eval_rows == 40
    message = message_of(checked, "held_out_share")
    assert "40 of 120 rows (33%) are held out" in message
    assert "3 groups" in message


def test_a_group_larger_than_the_share_stays_in_training(check: Check) -> None:
    checked = check(lines(in_groups(400, *[10] * 20)), recipe=BY_WARD)
    assert checked.result.report.statistics.eval_rows == 60
    assert "w0" not in {row["item"]["ward"] for row in read(checked.eval)}


def test_groups_are_added_until_the_gate_has_its_rows(check: Check) -> None:
    """Units of 7 rows: two are nearest to the 14 of the share, three hold the 20 of the gate."""
    checked = check(lines(in_groups(*[7] * 20)), recipe=BY_WARD)
    assert (checked.errors, checked.result.report.statistics.eval_rows) == ([], 21)


def test_a_label_that_one_group_alone_gives_is_learned_and_the_report_says_it_is_not_judged(check: Check) -> None:
    labels = ("yes", "no")
    rows = in_groups(*[10] * 30, label=lambda group, n: "rare" if group == 3 else labels[n % 2])
    checked = check(lines(rows), recipe=BY_WARD)
    assert set(checked.codes) == {"label_not_held_out"}
    assert "rare" not in answers(checked.eval)


def test_labels_that_each_stand_in_one_group_cannot_be_held_out(check: Check) -> None:
    rows = in_groups(40, 40, 40, label=lambda group, n: f"label {group}")
    assert check(lines(rows), recipe=BY_WARD).errors == ["no_eval_rows"]


def test_labels_that_no_assignment_of_groups_puts_in_both_splits_are_an_error(check: Check) -> None:
    """Each two of three groups share a label: one split has two of the groups, and so all rows of their label."""
    pairs = (("a", "b"), ("b", "c"), ("c", "a"))
    rows = in_groups(40, 40, 40, label=lambda group, n: pairs[group][n % 2])
    assert check(lines(rows), recipe=BY_WARD).errors == ["label_in_one_split"]


@pytest.mark.parametrize("shared", [("a", "ab", "bc", "c"), ("ad", "dc", "cb", "ba"), ("a", "ab", "bc", "cd", "d")])
def test_a_group_with_the_last_rows_of_a_label_is_replaced_where_another_label_needs_it(
    check: Check, shared: tuple[str, ...]
) -> None:
    """With a and c held out in the outer groups, no group is left for b: one of the outer ones has to go back."""
    rows = in_groups(*[40] * len(shared), label=lambda group, n: shared[group][n % len(shared[group])])
    for seed in range(12):
        recipe = f"method: {{hyperparameters: {{seed: {seed}}}}}\ndata: {{split_group: ward}}"
        checked = check(lines(rows), recipe=recipe.encode())
        assert checked.errors == []
        assert set(answers(checked.train)) == set(answers(checked.eval)) == set("".join(shared))


def test_the_label_of_a_row_is_its_last_answer_that_is_learned(check: Check) -> None:
    chance = random.Random(7)
    labels = ["urgent"] * 290 + ["routine"] * 10
    rows = [in_user(f"{note(chance)} {n}", label) for n, label in enumerate(labels)]
    for n, row in enumerate(rows):
        row["messages"] += [
            {"role": "user", "content": "Sure?"},
            {"role": "assistant", "content": f"No {n}", "weight": 0},
        ]
    checked = check(lines(rows))
    assert Counter(row["messages"][1]["content"] for row in read(checked.eval)) == {"urgent": 29, "routine": 1}


def test_rows_that_end_with_a_tool_call_are_split(check: Check) -> None:
    def row(number: int) -> Row:
        call = {"id": "c", "type": "function", "function": {"name": "find", "arguments": json.dumps({"part": number})}}
        end = {"role": "assistant", "content": None, "tool_calls": [call]}
        tool = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
        return {"messages": [{"role": "user", "content": f"Find part {number}"}, end], "tools": [tool]}

    checked = check(lines(map(row, range(300))))
    assert (checked.errors, checked.result.report.statistics.eval_rows) == ([], 30)


def test_labels_that_only_the_held_out_file_has_are_an_error_and_unjudged_ones_a_warning(check: Check) -> None:
    chance = random.Random(6)
    train = [in_user(f"{note(chance)} {n}", ("yes", "no", "often")[n % 3]) for n in range(90)]
    held_out = [in_user(f"{note(chance)} h{n}", ("yes", "no")[n % 2]) for n in range(30)]
    checked = check(lines(train), lines([*held_out, in_user("fever", "maybe")]))
    assert checked.codes == {"label_in_one_split": (31,), "label_not_held_out": ()}
    assert checked.errors == ["label_in_one_split"]


def test_a_held_out_file_with_other_labels_is_an_error_and_one_without_labels_asks_for_something_else(
    check: Check,
) -> None:
    chance = random.Random(8)
    train = [in_user(f"{note(chance)} {n}", ("yes", "no")[n % 2]) for n in range(90)]
    others = [in_user(f"{note(chance)} h{n}", ("true", "false")[n % 2]) for n in range(30)]
    free = [in_user(f"{note(chance)} h{n}", f"part {n}") for n in range(30)]
    assert check(lines(train), lines(others)).errors == ["label_in_one_split"]
    assert check(lines(train), lines(free)).codes == {}


def test_free_answers_are_no_labels(check: Check) -> None:
    train = [chat(("user", f"Rewrite {n}"), ("assistant", f"text {n // 2}")) for n in range(200)]
    held_out = [chat(("user", f"Rewrite x{n}"), ("assistant", f"text x{n}")) for n in range(30)]
    assert check(lines(train), lines(held_out)).codes == {}


def test_labels_out_of_balance_are_reported_with_their_share(check: Check) -> None:
    chance = random.Random(9)
    rows = [in_user(f"{note(chance)} {n}", "billing" if n % 50 else "fraud") for n in range(150)]
    checked = check(lines(rows), recipe=b"evaluation: {gate: {min_rows: 2}}")
    problems = {problem.code: problem for problem in checked.result.report.problems}
    assert "98 %" in problems["label_imbalance"].message
    assert problems["rare_label"].count == 1
    assert answers(checked.eval)["fraud"] == 1


def pairs(question: str, number: int) -> Row:
    return {"prompt": question, "chosen": f"yes {number}", "rejected": f"no {number}"}


def openai_pairs(question: str, number: int) -> Row:
    outputs = ("preferred_output", f"yes {number}"), ("non_preferred_output", f"no {number}")
    answers = {name: [{"role": "assistant", "content": text}] for name, text in outputs}
    return {"input": {"messages": [{"role": "user", "content": question}]}, **answers}


def answered(question: str, number: int) -> Row:
    return chat(("user", question), ("assistant", f"text {number}"))


def answered_after_a_turn(question: str, number: int) -> Row:
    return chat(("user", "Hello"), ("assistant", "Yes?"), ("user", question), ("assistant", f"text {number}"))


def answered_with_tools(question: str, number: int) -> Row:
    return in_tools(question, f"text {number}")


def answered_in_system(question: str, number: int) -> Row:
    return in_system(question, f"text {number}")


def prompts(question: str, number: int) -> Row:
    return {"prompt": question, "answer": f"text {number}"}


METHODS = {pairs: "dpo", openai_pairs: "dpo", prompts: "reinforcement"}


def recipe_of(rows: Any, data: str = "") -> bytes:
    method = METHODS.get(rows, "supervised")
    graders = ", graders: [{name: like, type: string_check, operation: ilike}]" if method == "reinforcement" else ""
    return f"method: {{type: {method}{graders}}}\n{data}".encode()


def question_of(row: Row) -> str:
    """All that is read before the answer, of a canonical row."""
    document = row.get("input", row)
    messages = document["messages"]
    return json.dumps([messages[:-1] if messages[-1]["role"] == "assistant" else messages, document.get("tools")])


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
    assert (len(held_out), len(read(first.eval)), train & held_out) == (6, 24, set())
    assert {question_of(row) for row in read(again.eval)} == held_out


@pytest.mark.parametrize("made", [pairs, answered])
def test_one_question_for_all_rows_is_parted_with_a_warning(check: Check, made: Any) -> None:
    checked = check(lines(made("Tell a joke", n) for n in range(240)), recipe=recipe_of(made))
    assert checked.errors == []
    assert len(read(checked.eval)) == 24
    assert "240 rows" in message_of(checked, "same_question_split")


def test_of_questions_only_those_too_large_for_the_share_are_parted(check: Check) -> None:
    rows = [answered("Tell a joke" if n % 4 else f"question {n // 8}", n) for n in range(240)]
    checked = check(lines(rows))
    train, held_out = ({question_of(row) for row in read(part)} for part in (checked.train, checked.eval))
    assert len(read(checked.eval)) == 24
    assert {question for question in train & held_out if "question" in question} == set()


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


def pairs_by_turn(case: int, count: int) -> list[Row]:
    """The dialogue goes on after the preferred answer."""
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
    """A greeting as a row of its own, and dialogues that go on from it."""
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
    assert (split.units, split.held_out, split.parted_questions) == (100, 10, 0)


LABEL_FILES: dict[str, tuple[slice, slice, str]] = {
    "a training row goes on after a held-out answer": (slice(2, 3), slice(0, 1), "train_eval_overlap"),
    "a held-out row goes on after a training row": (slice(0, 1), slice(2, 3), "train_eval_same_question"),
    "the same row": (slice(1, 2), slice(1, 2), "train_eval_overlap"),
    "a dialogue for itself": (slice(0, 3), slice(0, 0), ""),
}


@pytest.mark.parametrize(("train", "held_out", "code"), LABEL_FILES.values(), ids=LABEL_FILES.keys())
def test_a_dialogue_may_not_go_on_in_the_other_file(check: Check, train: slice, held_out: slice, code: str) -> None:
    others = [row for case in range(20) for row in turns(case, 3)]
    judged = [row for case in range(100, 120) for row in turns(case, 3)]
    planted = turns(1000, 3)
    codes = check(lines([*others, *planted[train]]), lines([*judged, *planted[held_out]])).codes
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


@pytest.mark.parametrize("group", [{"patient": "p1"}, {"patient": " p1 "}, {"patient": 7}, {"patient": "7"}])
def test_a_group_in_both_files_is_an_error(check: Check, group: Row) -> None:
    recipe = b"data: {split_group: patient}"
    train = [{**row, "patient": f"a{n}"} for n, row in enumerate(questions(60))]
    held_out = [chat(("user", f"Where is {n}?"), ("assistant", f"hall {n}"), patient=f"b{n}") for n in range(30)]
    for n, patient in ((3, "p1"), (5, "p1"), (8, 7)):
        train[n]["patient"] = patient
    checked = check(lines(train), lines([*held_out, chat(("user", "Who?"), ("assistant", "they"), **group)]), recipe)
    assert checked.codes["group_in_both_splits"] == ((4, 6) if "p1" in str(group) else (9,))
    assert checked.errors == ["group_in_both_splits"]
    assert "patient" in message_of(checked, "group_in_both_splits")
    assert "group_in_both_splits" not in check(lines(train), lines(held_out), recipe).codes


@pytest.mark.parametrize("missing", [{}, {"patient": None}, {"patient": ""}, {"patient": " "}])
def test_rows_of_no_group_are_not_of_one_group(check: Check, missing: Row) -> None:
    train, held_out = questions(60, **missing), [{**answered(f"Where is {n}?", n), **missing} for n in range(30)]
    assert "group_in_both_splits" not in check(lines(train), lines(held_out), b"data: {split_group: patient}").codes


GRADED: dict[str, tuple[str, Row]] = {
    "string_check": ("{name: g, type: string_check}", {"answer": "{}"}),
    "another field": ("{name: g, type: string_check, reference: '{{{{item.kind}}}}'}", {"kind": "{}"}),
    "label": ("{name: g, type: label, labels: [fraud, ok]}", {"answer": "{}"}),
    "similarity": ("{name: g, type: text_similarity, evaluation_metric: fuzzy_match}", {"answer": "{}"}),
    "a field of an object": ("{name: g, type: string_check, reference: '{{{{item.a.b}}}}'}", {"a": {"b": "{}"}}),
}


def filled(value: Any, text: str) -> Any:
    if isinstance(value, dict):
        return {name: filled(one, text) for name, one in value.items()}
    return value.format(text)


@pytest.mark.parametrize(("grader", "fields"), GRADED.values(), ids=GRADED.keys())
@pytest.mark.parametrize(("every", "fraud"), [(20, 1), (50, 1), (4, 5)])
def test_the_label_of_a_prompt_is_the_reference_of_its_grader(
    check: Check, grader: str, fields: Row, every: int, fraud: int
) -> None:
    grader = grader.replace("{{{{", "{{").replace("}}}}", "}}")
    of_form = "{name: form, type: string_check, operation: like, reference: '.'}"
    recipe = f"method: {{type: reinforcement, graders: [{of_form}]}}\nevaluation: {{graders: [{of_form}, {grader}]}}"
    rows = [{"prompt": f"question {n}", **filled(fields, "ok" if n % every else "fraud")} for n in range(200)]
    checked = check(lines(rows), recipe=recipe.encode())
    assert checked.errors == []
    held_out = Counter("fraud" in json.dumps(row["item"]) for row in read(checked.eval))
    assert (held_out[True], held_out[True] + held_out[False]) == (fraud, 20)


@pytest.mark.parametrize(
    ("classes", "rows_a_class", "held_out"),
    [(77, 5, 77), (77, 8, 77), (40, 9, 40), (25, 8, 25), (77, 3, 77), (30, 10, 30)],
)
def test_each_of_many_classes_is_held_out(check: Check, classes: int, rows_a_class: int, held_out: int) -> None:
    chance = random.Random(12)
    rows = [in_user(f"{note(chance)} {n}", f"intent_{n % classes}") for n in range(classes * rows_a_class)]
    checked = check(lines(rows))
    assert checked.errors == []
    assert "label_not_held_out" not in checked.codes
    assert len(answers(checked.train)) == len(answers(checked.eval)) == classes
    assert len(read(checked.eval)) == held_out


@pytest.mark.parametrize("seed", range(10))
def test_a_class_that_is_not_held_out_is_counted(check: Check, seed: int) -> None:
    """Frequencies by rank: some classes have one row."""
    chance = random.Random(seed)
    labels = chance.choices(range(50), [1 / (rank + 1) for rank in range(50)], k=300)
    rows = [in_user(f"{note(chance)} {n}", f"intent_{label}") for n, label in enumerate(labels)]
    checked = check(lines(rows))
    missing = len(answers(checked.train)) - len(answers(checked.eval))
    assert {label for label, count in Counter(labels).items() if count > 1} == {
        int(label.split("_")[1]) for label in answers(checked.eval)
    }
    named = message_of(checked, "label_not_held_out") if missing else f": {missing} label"
    assert f": {missing} label" in named


def test_answers_that_are_each_asked_for_in_several_ways_are_no_labels(check: Check) -> None:
    """Near duplicates stay in one split, and the answers of one document too."""
    words = [" ".join(f"w{case}x{n}" for n in range(80)) for case in range(100)]
    rows = [chat(("user", f"{text} {n}"), ("assistant", text[:9]), case=text[:4]) for n in range(4) for text in words]
    for recipe in (b"", b"data: {split_group: case}"):
        checked = check(lines(rows), recipe=recipe)
        assert (checked.errors, len(read(checked.eval))) == ([], 40)
        assert set(answers(checked.train)).isdisjoint(answers(checked.eval))
        assert not checked.codes.keys() & {"label_not_held_out", "near_duplicates_split", "rare_label"}


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
        first, second, both = sketch(words[:70]), sketch(words[10:]), sketch(words[10:70])
        if similar(first.low, both.low) and similar(second.low, both.low) and not similar(first.low, second.low):
            rows += [row(len(rows) + more, each) for more, each in enumerate((first, second, both), start=1)]
        if len(rows) == 300:
            break
    for ordered in (rows, rows[::-1]):
        split, held_out = held_out_of(ordered)
        assert split.held_out == len(held_out) == 30
        assert len({(number - 1) // 3 for number in held_out}) == 10


# Many random files. What each must keep is computed here from the rows, not by the validator.


class Made(NamedTuple):
    """A file, and what its rows say. `families`: rows that say nearly the same, by number; every row has an `n`.

    `texts`: messages with the answer, and tools; of a prompt without it.
    """

    rows: list[Row]
    share: float
    grouped: bool
    families: dict[int, int]
    texts: list[tuple[list[Row], Any]]
    labels: list[str]
    method: Any


def chat_of(row: Row, label: str) -> list[Row]:
    return [row]


def pairs_of(row: Row, label: str) -> list[Row]:
    outputs = {"preferred_output": row["messages"][-1:], "non_preferred_output": [{**row["messages"][-1]}]}
    outputs["non_preferred_output"][0]["content"] = "neither"
    prompt = {name: value for name, value in row.items() if name in ("messages", "tools")}
    return [{"input": {**prompt, "messages": row["messages"][:-1]}, **outputs}]


def prompts_of(row: Row, label: str) -> list[Row]:
    return [{**row, "messages": row["messages"][:-1], "answer": label}]


def turns_of(row: Row, label: str) -> list[Row]:
    """The dialogue goes on twice with the same label: three rows."""
    more = [{"role": "user", "content": "Sure?"}, row["messages"][-1]]
    return [{**row, "messages": row["messages"] + more * count} for count in range(3)]


KINDS: tuple[tuple[Callable[[Row, str], list[Row]], Any], ...] = (
    (chat_of, None),
    (chat_of, None),
    (pairs_of, pairs),
    (prompts_of, prompts),
    (turns_of, None),  # last: labels of a few rows would each be of one dialogue
)


def make(seed: int) -> Made:
    """A labeled file: 2 to 40 labels whose frequencies fall, contexts anywhere, families of copies, maybe patients."""
    chance = random.Random(seed)
    many = chance.random() < 0.2  # labels of a few rows each, with the same frequency
    labels = [f"label {number}" for number in range(40 if many else chance.randint(2, 9))]
    weights = [1.0 if many else chance.choice((1.0, 0.5, 0.3)) ** place for place in range(len(labels))]
    count = chance.randint(240 if many else 60, 400)
    carrier = chance.choice(CARRIERS)
    kind, method = chance.choice(KINDS[:-1] if many else KINDS)
    grouped = chance.random() < 0.5
    patients = chance.randint(8, max(8, count // 3))
    rows: list[Row] = []
    families: dict[int, int] = {}
    texts: list[tuple[list[Row], Any]] = []
    given: list[str] = []
    while len(rows) < count:
        label, text = chance.choices(labels, weights)[0], note(chance, chance.choice((5, 20, 60, 150)))
        patient = f"p{int(patients * chance.random() ** 2)}"
        family = len(rows)
        for _ in range(1 if many else chance.choice((1, 1, 1, 2, 4))):
            written = f"{text} v{len(rows)}" if chance.random() < 0.8 else text
            for row in kind(carrier(written, label), label):
                families[len(rows)] = family
                prompt = row.get("input", row)
                texts.append((prompt["messages"] + row.get("preferred_output", []), prompt.get("tools")))
                given.append(label)
                rows.append({**row, "patient": patient, "n": len(rows)})
    return Made(rows, chance.choice((0.05, 0.1, 0.2, 0.3)), grouped, families, texts, given, method)


def units(made: Made, near: Callable[[int, int], bool], *, by_question: bool) -> dict[int, int]:
    """Row -> its unit: patients, rows with the same prompt, and rows that say nearly the same."""
    parents = list(range(len(made.rows)))

    def root(one: int) -> int:
        while parents[one] != one:
            one = parents[one]
        return one

    def join(one: int, other: int) -> None:
        parents[root(one)] = root(other)

    first_of: dict[Any, int] = {}
    row_of_prompt: dict[str, int] = {}
    for n, (messages, tools) in enumerate(made.texts):
        join(n, first_of.setdefault(json.dumps([messages, tools]), n))
        if made.grouped:
            join(n, first_of.setdefault(("patient", made.rows[n]["patient"]), n))
        if by_question:
            question = messages[:-1] if messages[-1]["role"] == "assistant" else messages
            join(n, row_of_prompt.setdefault(json.dumps([question, tools]), n))
    for n, (messages, tools) in enumerate(made.texts):
        for place, message in enumerate(messages):
            before = json.dumps([messages[:place], tools])
            if message["role"] == "assistant" and before in row_of_prompt:
                join(n, row_of_prompt[before])
    for n, family in made.families.items():
        for other in range(family, n):
            if near(n, other):
                join(n, other)
    return {n: root(n) for n in range(len(parents))}


def check_made(check: Check, seed: int) -> bool:
    """Whether no unit was parted."""
    made = make(seed)
    data = f"data: {{validation_split: {made.share}{', split_group: patient' if made.grouped else ''}}}\n"
    recipe = recipe_of(made.method, f"{data}evaluation: {{gate: {{min_rows: 2}}}}")
    shuffled = made.rows.copy()
    random.Random(seed).shuffle(shuffled)
    checked, again = (check(lines(rows), recipe=recipe) for rows in (made.rows, shuffled))
    assert checked.errors == again.errors == [], seed
    held_out = {row["item"]["n"] for row in read(checked.eval)}
    assert held_out == {row["item"]["n"] for row in read(again.eval)}, "another order, another split"
    near, question = (code not in checked.codes for code in ("near_duplicates_split", "same_question_split"))
    unit_of = units(
        made, lambda one, other: near and question and alike(made.texts[one], made.texts[other]), by_question=question
    )
    assert_kept_together(held_out, unit_of)
    assert_labels_in_both_splits(made, held_out, unit_of)
    missing = len(set(made.labels)) - len({made.labels[n] for n in held_out})
    assert not missing or f": {missing} label" in message_of(checked, "label_not_held_out")
    assert_share(made, held_out, units(made, lambda one, other: True, by_question=True))
    return near and question


def alike(*both: tuple[list[Row], Any]) -> bool:
    """By the true Jaccard similarity of pairs of words, not by its estimate, and beyond doubt."""
    pairs = []
    for each in both:
        words = json.dumps(each).lower().split()
        pairs.append(set(itertools.pairwise(words)))
    return len(pairs[0] & pairs[1]) >= 0.97 * len(pairs[0] | pairs[1])


def assert_kept_together(held_out: set[int], unit_of: dict[int, int]) -> None:
    splits_of = defaultdict(set)
    for n, unit in unit_of.items():
        splits_of[unit].add(n in held_out)
    assert all(len(each) == 1 for each in splits_of.values())


def assert_labels_in_both_splits(made: Made, held_out: set[int], unit_of: dict[int, int]) -> None:
    units_of = defaultdict(set)
    splits_of = defaultdict(set)
    for n, label in enumerate(made.labels):
        units_of[label].add(unit_of[n])
        splits_of[label].add(n in held_out)
    for label, found in units_of.items():
        assert len(splits_of[label]) == 2 or len(found) == 1, label
        assert len(found) > 1 or splits_of[label] == {False}, label


def assert_share(made: Made, held_out: set[int], unit_of: dict[int, int]) -> None:
    """Within one unit, above it only where each label needs one. `unit_of`: as if nothing was parted."""
    sizes = Counter(unit_of.values())
    smallest: dict[str, int] = {}
    for n, label in enumerate(made.labels):
        smallest[label] = min(sizes[unit_of[n]], smallest.get(label, len(made.rows)))
    target = round(made.share * len(made.rows))
    assert target - max(sizes.values()) <= len(held_out) <= max(target, sum(smallest.values())) + max(sizes.values())


@pytest.mark.parametrize("seeds", [range(part, part + 10) for part in range(0, 50, 10)], ids=str)
def test_fifty_random_labeled_files_are_split_right(check: Check, seeds: range) -> None:
    for seed in seeds:
        check_made(check, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [range(part, part + 50) for part in range(50, 1000, 50)], ids=str)
def test_a_thousand_random_labeled_files_are_split_right(check: Check, seeds: range) -> None:
    for seed in seeds:
        check_made(check, seed)
