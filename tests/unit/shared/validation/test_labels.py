"""When answers are labels."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from shared.validation.labels import LabelCount, find_labels


def repeated(*rows: int) -> list[LabelCount]:
    """Answers that so many rows give, each row a group of its own."""
    return [LabelCount(key, count, count, count) for key, count in enumerate(sorted(rows, reverse=True), start=1)]


@pytest.mark.parametrize(
    ("counts", "rows", "classifies"),
    [
        ((500, 400, 100), 1000, True),
        ((500, 400, 2), 1000, True),  # the rest are slips and notes
        ((500, 300), 1000, False),  # a fifth of the answers is free text
        ((1000,), 1000, False),  # one answer is none to choose from
        ((), 1000, False),
        ((3,) * 20, 60, True),
        ((2,) * 20, 40, True),
        ((2,) * 21, 42, False),  # phrases that happen to come twice
        ((6,) * 10, 70, True),  # as many labels are given once
        ((59,), 60, True),
        ((97,), 100, True),
        ((41,), 60, True),
        ((40,), 60, False),  # one frequent answer among many
        ((10,) * 100, 1000, True),  # a tenth of the rows
        ((9,) * 101, 1000, True),
        ((5,) * 77, 385, True),
        ((3,) * 150, 450, True),
        ((3,) * 150, 500, True),
        ((3,) * 150, 501, False),
        ((2,) * 150, 300, False),
        ((20,) * 20, 400, True),
    ],
)
def test_answers_are_labels_where_each_is_given_often(counts: tuple[int, ...], rows: int, classifies: bool) -> None:
    assert find_labels(repeated(*counts), rows, share=0.1).classifies is classifies


def test_all_labels_of_a_task_count_and_elsewhere_those_of_which_a_row_is_held_out() -> None:
    assert [label.rows for label in find_labels(repeated(97, 2), 100, share=0.1).counts] == [97, 2]
    assert [label.rows for label in find_labels(repeated(40, 10, 9, 2), 1000, share=0.1).counts] == [40, 10]


@pytest.mark.parametrize(("groups", "units", "classifies"), [(5, 5, True), (5, 1, False), (1, 1, False)])
def test_many_answers_are_labels_where_questions_that_differ_have_them(
    groups: int, units: int, classifies: bool
) -> None:
    """Else they are what is asked for in several ways, or in one document."""
    many = [LabelCount(key, 5, groups, units) for key in range(1, 101)]
    few = many[:20]
    assert find_labels(many, 500, share=0.1).classifies is classifies
    assert find_labels(few, 100, share=0.1).classifies
    assert (find_labels(many, 500, share=0.1).few, find_labels(few, 100, share=0.1).few) == (False, True)


TRIAGE = ("urgent", "routine", "discharge")


def json_answer(n: int, label: str) -> dict[str, Any]:
    return {"category": label, "reason": f"Because of finding {n * 7919 % 1000} of {n}.", "confidence": n % 97 / 100}


SHAPES: dict[str, Callable[[int, str], str]] = {
    "one line": lambda n, label: json.dumps(json_answer(n, label)),
    "pretty": lambda n, label: json.dumps(json_answer(n, label), indent=2),
    "in a fence": lambda n, label: f"```json\n{json.dumps(json_answer(n, label))}\n```",
    "in an object": lambda n, label: json.dumps({"result": json_answer(n, label), "id": n}),
    "beside a finer number": lambda n, label: json.dumps({**json_answer(n, label), "priority": n % 7}),
    "longer than a label may be": lambda n, label: json.dumps({**json_answer(n, label), "notes": f"x{n} " * 90}),
    "in upper case": lambda n, label: json.dumps(json_answer(n, label.upper())),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_label_in_a_json_answer_is_held_out_by_its_share(check, shape) -> None:
    weights = (300, 60, 24)
    labels = [label for label, count in zip(TRIAGE, weights, strict=True) for _ in range(count)]
    random.Random(3).shuffle(labels)
    rows = [
        {"prompt": f"Case {n}: {n * 104729 % 99991}?", "completion": shape(n, label)} for n, label in enumerate(labels)
    ]
    for ordered in (rows, rows[::-1]):
        checked = check(b"\n".join(json.dumps(row).encode() for row in ordered))
        assert checked.errors == []
        counts = [(label.value, label.train_rows, label.eval_rows) for label in checked.result.report.quality.labels]
        assert counts == [("urgent", 270, 30), ("routine", 54, 6), ("discharge", 22, 2)]


def test_the_label_of_json_in_two_files_is_compared(check) -> None:
    def lines(first: int, labels: list[str]) -> bytes:
        rows = (
            {"prompt": f"Case {n} {n * 7919}?", "completion": json.dumps(json_answer(n, label))}
            for n, label in enumerate(labels, first)
        )
        return b"\n".join(json.dumps(row).encode() for row in rows)

    checked = check(lines(0, [*TRIAGE[:2]] * 50), lines(500, ["urgent", "observe"] * 15))
    assert checked.errors == ["label_in_one_split"]


NO_LABELS: dict[str, Callable[[int], str]] = {
    "facts": lambda n: json.dumps({"name": f"part {n}", "size": n}),
    "one value": lambda n: json.dumps({"kind": "part", "name": f"part {n}"}),
    "a list": lambda n: json.dumps([{"category": "a"}, n]),
    "prose in braces": lambda n: f"{{category: {n}}}",
    "most without a label": lambda n: json.dumps({"name": f"part {n}", **({"category": "ab"[n % 2]} if n % 3 else {})}),
}


@pytest.mark.parametrize("answer", NO_LABELS.values(), ids=NO_LABELS)
def test_json_without_a_field_that_sorts_the_rows_is_no_label(check, answer) -> None:
    rows = [{"prompt": f"Case {n} {n * 7919}?", "completion": answer(n)} for n in range(300)]
    checked = check(b"\n".join(json.dumps(row).encode() for row in rows))
    assert checked.errors == []
    assert checked.result.report.quality.labels == ()


# Small files of few labels, some of which have a row or two.
WORDS = [f"{word}{n}" for n in range(5) for word in ("pump", "valve", "seal", "wheel")]
ANSWERS: tuple[Callable[[str, random.Random], str], ...] = (
    lambda label, _: label,
    lambda label, chance: json.dumps({"label": label, "why": " ".join(chance.choices(WORDS, k=4))}),
)


def labeled(chance: random.Random) -> tuple[list[dict[str, Any]], bytes]:
    """2 to 20 labels, up to half of them rare (1 to 6 rows), near duplicates, groups; and a recipe."""
    classes, rare, most = chance.randint(2, 20), chance.randint(1, 6), chance.choice((6, 6, 60))
    counts = [rare if n < classes // 2 else chance.randint(max(2, rare), most) for n in range(classes)]
    counts[-1] += max(0, 2 * classes - sum(counts))
    grouped, near, answer = chance.random() < 0.4, chance.random() < 0.4, chance.choice(ANSWERS)
    rows: list[dict[str, Any]] = []
    text = [""]
    for label, count in enumerate(counts):
        for n in range(count):
            if near and n and chance.random() < 0.5:
                text[chance.randrange(len(text))] = chance.choice(WORDS)
            else:
                text = chance.choices(WORDS, k=chance.randint(6, 30))
            case = {"prompt": f"{' '.join(text)} {len(rows)}", "completion": answer(f"label {label}", chance)}
            rows.append({**case, "ward": f"w{chance.randrange(30)}", "label_number": label})
    chance.shuffle(rows)
    data = f"validation_split: {chance.choice((0.05, 0.1, 0.2, 0.3))}{', split_group: ward' if grouped else ''}"
    gate = chance.choice((2, 20))
    return rows, f"data: {{{data}}}\nevaluation: {{slices: [label_number], gate: {{min_rows: {gate}}}}}".encode()


@pytest.mark.ci
@pytest.mark.parametrize(
    "seeds", [range(25), *(pytest.param(range(n, n + 100), marks=pytest.mark.slow) for n in range(25, 1000, 100))]
)
def test_no_label_of_few_is_in_the_held_out_rows_alone_and_their_order_does_not_matter(check, seeds: range) -> None:
    for seed in seeds:
        rows, recipe = labeled(random.Random(seed))
        first, again = (
            check(b"\n".join(json.dumps(row).encode() for row in ordered), recipe=recipe)
            for ordered in (rows, sorted(rows, key=lambda row: row["prompt"]))
        )
        held_out, learned = (
            {json.loads(line)["item"]["label_number"] for line in part.splitlines()}
            for part in (first.eval, first.train)
        )
        assert held_out <= learned or first.errors == ["label_in_one_split"], seed
        assert sorted(first.eval.splitlines()) == sorted(again.eval.splitlines()), seed
        assert first.codes.keys() == again.codes.keys(), seed


SPELLINGS: dict[str, tuple[tuple[str, str], bool]] = {
    "capitals": (("urgent", "Urgent"), True),
    "a blank": (("urgent", "urgent "), True),
    "both": (("urgent", " URGENT"), True),
    "other letters": (("größer", " GRÖSSER"), False),
    "capitals and blanks": (("größer", " Größer"), True),
    "blanks between words": (("very urgent", "very  urgent"), True),
    "a period": (("urgent", "urgent."), True),
    "another word": (("urgent", "urgently"), False),
    "a hyphen": (("very urgent", "very-urgent"), False),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize(("both", "alike"), SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("held_out", [False, True])
def test_a_label_that_is_written_in_two_ways_is_named_with_both_and_their_rows(
    check, both, alike, held_out, answer
) -> None:
    chance = random.Random(5)
    labels = [both[0]] * 30 + [both[1]] * 6 + ["routine"] * 40
    rows = [
        json.dumps({"prompt": " ".join(chance.choices(WORDS, k=9)), "completion": answer(label, chance)}).encode()
        for label in labels
    ]
    parts = (rows[20:66], rows[:20] + rows[66:]) if held_out else (rows, [])
    checked = check(*(b"\n".join(part) or None for part in parts))
    found = [one for one in checked.result.report.problems if one.code == "label_spelling"]
    assert [(one.severity, one.count) for one in found] == ([("warning", 6)] if alike else [])
    if alike:
        assert f'"{both[0]}" (30) and "{both[1]}" (6).' in found[0].message
        assert found[0].rows == ((11, 12, 13) if held_out else (31, 32, 33))


def test_free_answers_that_differ_in_capitals_are_no_labels(check) -> None:
    rows = [
        {"prompt": f"Case {n} {n * 7919}?", "completion": f"{'Part' if n % 2 else 'part'} {n // 2}"} for n in range(90)
    ]
    assert "label_spelling" not in check(b"\n".join(json.dumps(row).encode() for row in rows)).codes
