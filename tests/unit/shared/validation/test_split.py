"""The split: labels in both splits, rows that belong together in one, the share, and any order of the rows."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from shared.validation.keys import Keys, RowKeys
from shared.validation.split import ALWAYS_COVERED, assignments, split_rows
from tests.unit.shared.validation.conftest import Check
from tests.unit.shared.validation.labeled_rows import (
    BY_WARD,
    Row,
    answer,
    answered,
    answers,
    chat,
    in_system,
    in_template,
    in_tools,
    lines,
    message_of,
    note,
    pairs,
    prompts,
    read,
    recipe_of,
)


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


def in_user(text: str, label: str) -> Row:
    return chat(("user", f"Triage of: {text}?"), ("assistant", label))


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


@pytest.mark.few_cases(3)
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


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES.keys())
def test_a_copy_of_a_held_out_row_is_found_wherever_its_text_stands(check: Check, carrier: Any, copy: Any) -> None:
    chance = random.Random(4)
    rows = [carrier(f"hall {n}: {note(chance)}", ("yes", "no")[n % 2]) for n in range(81)]
    checked = check(lines([*rows[:60], copy(rows[70])]), lines(rows[60:80]))
    assert checked.codes["train_eval_overlap"] == (61,)
    assert checked.errors == ["train_eval_overlap"]


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


@pytest.mark.parametrize(
    ("count", "times", "by_ward"), [(60, 2, False), (60, 5, False), (60, 5, True), (200, 3, False)]
)
def test_copies_count_once_for_what_the_gate_needs(check: Check, count: int, times: int, by_ward: bool) -> None:
    rows = [{**row, "ward": f"w{number // 2}"} for number, row in enumerate(questions(count))] * times
    checked = check(lines(rows), recipe=BY_WARD if by_ward else b"")
    assert (checked.errors, len({*checked.eval.splitlines()}) >= 20) == ([], True)
    assert len(checked.eval.splitlines()) <= 0.4 * len(rows)
    assert count == 200 or "20 without copies" in message_of(checked, "held_out_share")


def test_copies_that_leave_too_few_rows_for_the_gate_are_counted(check: Check) -> None:
    checked = check(lines(questions(45) * 6))
    assert checked.errors == ["few_eval_rows"]
    assert "4 without copies" in message_of(checked, "few_eval_rows")


def in_groups(*sizes: int, label: Callable[[int, int], str] = lambda group, n: f"part {group} {n}") -> list[Row]:
    """Rows of groups of these sizes."""
    return [
        chat(("user", f"Which part is {group} {n}?"), ("assistant", label(group, n)), ward=f"w{group}")
        for group, size in enumerate(sizes)
        for n in range(size)
    ]


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
    assert set(checked.codes) == {"label_not_held_out", "few_eval_groups"}
    assert "rare" not in answers(checked.eval)


def test_labels_that_each_stand_in_one_group_cannot_be_held_out(check: Check) -> None:
    rows = in_groups(40, 40, 40, label=lambda group, n: f"label {group}")
    assert check(lines(rows), recipe=BY_WARD).errors == ["no_eval_rows"]


def test_labels_that_no_assignment_of_groups_puts_in_both_splits_are_an_error(check: Check) -> None:
    """Each two of three groups share a label: one split has two of the groups, and so all rows of their label."""
    pairs = (("a", "b"), ("b", "c"), ("c", "a"))
    rows = in_groups(40, 40, 40, label=lambda group, n: pairs[group][n % 2])
    assert check(lines(rows), recipe=BY_WARD).errors == ["label_in_one_split"]


@pytest.mark.parametrize("seeds", [range(4), pytest.param(range(4, 12), marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("shared", [("a", "ab", "bc", "c"), ("ad", "dc", "cb", "ba"), ("a", "ab", "bc", "cd", "d")])
def test_a_group_with_the_last_rows_of_a_label_is_replaced_where_another_label_needs_it(
    check: Check, shared: tuple[str, ...], seeds: range
) -> None:
    """With a and c held out in the outer groups, no group is left for b: one of the outer ones has to go back."""
    rows = in_groups(*[40] * len(shared), label=lambda group, n: shared[group][n % len(shared[group])])
    for seed in seeds:
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


def test_labels_that_only_the_held_out_file_has_are_an_error_that_covers_unjudged_ones(check: Check) -> None:
    chance = random.Random(6)
    train = [in_user(f"{note(chance)} {n}", ("yes", "no", "often")[n % 3]) for n in range(90)]
    held_out = [in_user(f"{note(chance)} h{n}", ("yes", "no")[n % 2]) for n in range(30)]
    checked = check(lines(train), lines([*held_out, in_user("fever", "maybe")]))
    assert checked.codes == {"label_in_one_split": (31,)}
    assert checked.errors == ["label_in_one_split"]


def test_a_held_out_file_with_other_labels_is_an_error_and_one_without_labels_asks_for_something_else(
    check: Check,
) -> None:
    chance = random.Random(8)
    train = [in_user(f"{note(chance)} {n}", ("yes", "no")[n % 2]) for n in range(90)]
    others = [in_user(f"{note(chance)} h{n}", ("true", "false")[n % 2]) for n in range(30)]
    free = [in_user(f"{note(chance)} h{n}", f"part {n}") for n in range(30)]
    one = [in_user(f"{note(chance)} h{n}", "often") for n in range(30)]
    assert check(lines(train), lines(others)).errors == ["label_in_one_split"]
    assert check(lines(train), lines(one)).errors == ["label_in_one_split"]
    assert check(lines(train), lines(free)).codes == {}


def test_free_answers_are_no_labels(check: Check) -> None:
    train = [chat(("user", f"Rewrite {n}"), ("assistant", f"text {n // 2}")) for n in range(200)]
    held_out = [chat(("user", f"Rewrite x{n}"), ("assistant", f"text x{n}")) for n in range(30)]
    assert check(lines(train), lines(held_out)).codes == {}


def test_one_answer_to_everything_is_reported_as_labels_out_of_balance(check: Check) -> None:
    rows = [in_user(f"{note(random.Random(n))} {n}", "billing") for n in range(150)]
    checked = check(lines(rows), recipe=b"evaluation: {gate: {min_rows: 2}}")
    (problem,) = (one for one in checked.result.report.problems if one.code == "label_imbalance")
    assert (problem.count, "100 %" in problem.message) == (150, True)


def test_labels_out_of_balance_are_reported_with_their_share(check: Check) -> None:
    chance = random.Random(9)
    rows = [in_user(f"{note(chance)} {n}", "billing" if n % 50 else "fraud") for n in range(150)]
    checked = check(lines(rows), recipe=b"evaluation: {gate: {min_rows: 2}}")
    problems = {problem.code: problem for problem in checked.result.report.problems}
    assert "98 %" in problems["label_imbalance"].message
    assert problems["rare_label"].count == 1
    assert answers(checked.eval)["fraud"] == 1


@pytest.mark.parametrize("group", [{"patient": one} for one in ("p1", " p1 ", 7, "7", 7.0, "7.0")])
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


@pytest.mark.few_cases(3)
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


@pytest.mark.few_cases(3)
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


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 10))])
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
    """The dialogue continues twice with the same label: three rows."""
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
    """Whether no unit was split."""
    made = make(seed)
    data = f"data: {{validation_split: {made.share}{', split_group: patient' if made.grouped else ''}}}\n"
    recipe = recipe_of(made.method, f"{data}evaluation: {{gate: {{min_rows: 2}}}}")
    shuffled = made.rows.copy()
    random.Random(seed).shuffle(shuffled)
    checked, again = (check(lines(rows), recipe=recipe) for rows in (made.rows, shuffled))
    assert checked.errors == again.errors, seed
    if checked.errors:
        assert checked.errors == ["label_in_one_split"], seed
        assert cannot_be_in_both(made, units(made, lambda one, other: True, by_question=True)), seed
        return True
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


def cannot_be_in_both(made: Made, unit_of: dict[int, int]) -> bool:
    """Whether all units of a label have to stay in training, each for another label that it alone has."""
    units_of = defaultdict(set)
    for n, label in enumerate(made.labels):
        units_of[label].add(unit_of[n])
    learned = {unit for found in units_of.values() if len(found) == 1 for unit in found}
    return any(len(found) > 1 and found <= learned for found in units_of.values())


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
        assert True not in splits_of[label] or len(splits_of[label]) == 2, label
        assert len(splits_of[label]) == 2 or len(found) == 1 or len(units_of) > ALWAYS_COVERED, label
        assert len(found) > 1 or splits_of[label] == {False}, label


def assert_share(made: Made, held_out: set[int], unit_of: dict[int, int]) -> None:
    """Within one unit, above it only where each of few labels needs one. `unit_of`: as if nothing was split."""
    sizes = Counter(unit_of.values())
    smallest: dict[str, int] = {}
    for n, label in enumerate(made.labels):
        smallest[label] = min(sizes[unit_of[n]], smallest.get(label, len(made.rows)))
    target = grown = round(made.share * len(made.rows))
    if len(smallest) > ALWAYS_COVERED:
        grown, smallest = len(smallest), {}
    most = max(target, grown, sum(smallest.values()))
    assert target - max(sizes.values()) <= len(held_out) <= most + max(sizes.values())


@pytest.mark.parametrize(
    "seeds",
    # 1844: two labels of one patient each keep all patients of a third in training.
    [
        range(10),
        range(1844, 1845),
        *(pytest.param(range(part, part + 45), marks=pytest.mark.slow) for part in range(10, 1000, 45)),
    ],
    ids=str,
)
def test_a_thousand_random_labeled_files_are_split_right(check: Check, seeds: range) -> None:
    for seed in seeds:
        check_made(check, seed)


# Of groups and labels in many proportions. Rows say nothing alike here, so that only groups keep them together.


class Shape(NamedTuple):
    groups: int
    labels: int
    rows: int
    share: float


def shapes(seed: int) -> Shape:
    chance = random.Random(seed)
    groups, labels = (int(2 ** chance.uniform(1, 8)) for _ in range(2))
    return Shape(groups, labels, chance.randint(max(60, groups), 2500), chance.choice((0.05, 0.1, 0.2, 0.3)))


PLACED: dict[str, Callable[[int, Shape, random.Random], tuple[int, int]]] = {
    "interleaved": lambda n, shape, _: (n % shape.groups, n % shape.labels),
    "one after the other": lambda n, shape, _: (n * shape.groups // shape.rows, n % shape.labels),
    "each group with all": lambda n, shape, _: (n % shape.groups, n // shape.groups % shape.labels),
    "by chance": lambda _, shape, chance: (chance.randrange(shape.groups), chance.randrange(shape.labels)),
    "of falling frequency": lambda _, shape, chance: (
        min(int(chance.paretovariate(1)), shape.groups) - 1,
        min(int(chance.paretovariate(1)), shape.labels) - 1,
    ),
}


def key_of(kind: str, number: int) -> int:
    return random.Random(f"{kind} {number}").getrandbits(62) + 1


def check_shape(shape: Shape, place: Any, seed: int, needed: int = 20) -> None:
    chance = random.Random(seed)
    placed = [place(n, shape, chance) for n in range(shape.rows)]
    chance.shuffle(placed)
    with Keys() as keys:
        for n, (group, label) in enumerate(placed):
            content = chance.randbytes(16)
            keys.add("train", RowKeys(content, content, key_of("group", group), key_of("label", label), n + 1, 0, None))
        found = split_rows(keys, shape.share, needed, by_field=True)
        held_out = {number - 1 for number, _, is_held_out in assignments(keys) if is_held_out}
    assert len(held_out) == found.held_out
    groups = [{group for n, (group, _) in enumerate(placed) if (n in held_out) is part} for part in (True, False)]
    labels = [{label for n, (_, label) in enumerate(placed) if (n in held_out) is part} for part in (True, False)]
    assert groups[0].isdisjoint(groups[1])
    assert not held_out or len(held_out) < shape.rows
    if found.classifies:
        assert labels[0] <= labels[1]
        assert len(labels[1] - labels[0]) == found.unshared + found.in_one_split
        if len(found.labels) <= ALWAYS_COVERED and found.held_out > found.target:
            return  # the report says that each label has to be in both splits
        several = Counter(label for _, label in {*placed})
        if max(several.values()) < 2:
            return  # no label is of two groups: nothing can be held out, an error
    sizes = Counter(group for group, _ in placed)
    assert abs(found.held_out - found.target) <= max(sizes.values()), (shape, found)
    assert found.target == found.requested or found.target <= 0.4 * shape.rows


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("place", PLACED.values(), ids=PLACED)
def test_of_groups_and_labels_in_any_proportion_the_share_is_held_out_within_one_group(place: Any) -> None:
    for seed in range(10):
        check_shape(shapes(seed), place, seed)


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACED.values(), ids=PLACED)
def test_of_many_groups_and_labels_in_any_proportion_the_share_is_held_out_within_one_group(place: Any) -> None:
    for seed in range(10, 200):
        check_shape(shapes(seed), place, seed)


@pytest.mark.ci
@pytest.mark.parametrize("rows", [2000, 5000])
def test_five_hundred_labels_in_two_hundred_groups_do_not_hold_out_half_the_rows(check: Check, rows: int) -> None:
    made = [
        {**chat(("user", f"Case {n} {key_of('text', n):x}"), ("assistant", f"code {n % 500}")), "ward": f"w{n % 200}"}
        for n in range(rows)
    ]
    checked = check(lines(made), recipe=BY_WARD)
    assert checked.errors == []
    report = checked.result.report
    assert report.statistics.eval_rows == 500
    unshared = 500 - len(answers(checked.eval))
    assert f"evaluated: {unshared} labels." in message_of(checked, "label_not_held_out")
    assert ("held_out_share" in checked.codes) is (rows == 2000)
