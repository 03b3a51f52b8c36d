"""Fields that say which answers are bad, and which rows are not to be trained on."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from shared.domain.findings import Findings
from shared.validation.codes import CODES as CODES_OF_ROWS
from shared.validation.fields import FieldNotes, UsedFields

ROWS = 60
CODES = {
    "pair_scores_reversed",
    "unpaired_preference",
    "excluded_rows",
    "marked_rows",
    "rated_answers",
    "ignored_field",
}


def question(number: int) -> str:
    return f"What is part {number}?"


def lines(name: str, value: Any, *, ask: Callable[[int], str] = question, pair: bool = False) -> list[str]:
    """Rows with a field that is a value, or made from the row's number; its answers all differ."""
    made = []
    for n in range(ROWS):
        question, answer = ask(n), f"part {n} of machine {n % 7}"
        row: dict[str, Any] = {"prompt": question, "completion": answer}
        if not pair:
            row = {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        made.append(json.dumps({**row, name: value(n) if callable(value) else value}))
    return made


def held_out() -> bytes:
    return b"\n".join(
        json.dumps({"prompt": f"Where is part {n}?", "completion": f"in hall {n}"}).encode() for n in range(1000, 1030)
    )


def marked(checked) -> list[tuple[str, int]]:
    return [(one.code, one.count) for one in checked.result.report.problems if one.code in CODES]


# The field, its value, and how many rows it marks.
CERTAIN: dict[str, tuple[str, Any, int]] = {
    "a boolean label": ("label", lambda n: n % 2 == 0, 30),
    "all labels false": ("label", False, 60),
    "a label in upper case": ("Label", lambda n: n % 2 == 0, 30),
    "a label as text of a table": ("label", lambda n: "False" if n < 7 else "True", 7),
    "a KTO tag": ("kto_tag", lambda n: n % 3 != 0, 20),
    "a KTO tag of 0 and 1": ("kto_tag", lambda n: n % 2, 30),
    "a KTO tag in camel case": ("ktoTag", lambda n: n % 2, 30),
    "a thumb up": ("thumbs_up", lambda n: n > 3, 4),
    "a thumb down": ("thumbs_down", lambda n: n < 4, 4),
    "a thumb down in numbers": ("thumbsDown", lambda n: int(n < 4), 4),
    "desirable": ("desirable", lambda n: n > 3, 4),
    "undesirable": ("undesirable", lambda n: n < 4, 4),
    "good": ("is_good", lambda n: n > 3, 4),
    "a thumb as a word": ("feedback", lambda n: "thumbs_down" if n < 7 else "thumbs_up", 7),
    "a thumb in camel case": ("rating", lambda n: "thumbsDown" if n < 7 else "thumbsUp", 7),
    "a dislike": ("vote", lambda n: "Dislike" if n < 7 else "Like", 7),
    "a rating of minus one": ("rating", lambda n: -1 if n < 5 else 1, 5),
    "chosen and rejected": ("label", lambda n: "rejected" if n < 5 else "chosen", 5),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("name", "value", "bad"), CERTAIN.values(), ids=CERTAIN)
@pytest.mark.parametrize("pair", [False, True])
def test_answers_that_are_marked_as_bad_are_refused_with_the_number_of_them(check, name, value, bad, pair) -> None:
    checked = check("\n".join(lines(name, value, pair=pair)).encode(), held_out())
    assert checked.errors == ["unpaired_preference"]
    (found,) = [one for one in checked.result.report.problems if one.code == "unpaired_preference"]
    assert (found.count, f"field {name} " in found.message) == (bad, True)
    assert len(found.rows) == min(bad, 20)


# A property of the case that the row is about is written in the same way as a mark of its answer.
MAYBE: dict[str, tuple[str, Any, int]] = {
    "a loan": ("approved", False, 60),
    "a claim": ("rejected", lambda n: n < 4, 4),
    "a claim that was taken": ("accepted", lambda n: n >= 4, 4),
    "fraud as 0 and 1": ("label", lambda n: n % 2, 30),
    "a class of -1 and 1": ("label", lambda n: 1 if n % 2 else -1, 30),
    "sentiment": ("score", -0.4, 60),
    "sentiment in a word": ("label", lambda n: "negative" if n < 4 else "positive", 4),
    "a deviation": ("score", lambda n: (n - 30) / 10, 30),
    "a score of 0 and 1": ("score", lambda n: min(n, 1), 1),
    "the quality of a part": ("quality", lambda n: "bad" if n < 4 else "good", 4),
    "a review": ("is_helpful", lambda n: n > 3, 4),
    "a student's answer": ("isCorrect", lambda n: n > 3, 4),
    "feedback of a customer": ("feedback", lambda n: "Negative" if n < 4 else "Positive", 4),
    "only rejected": ("label", "rejected", 60),
    "a loss of 0": ("loss", 0, 60),
    "left out": ("exclude", lambda n: n < 4, 4),
    "a file of test rows": ("split", "test", 60),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("name", "value", "bad"), MAYBE.values(), ids=MAYBE)
def test_what_may_be_a_property_of_the_case_is_a_warning_that_says_how_to_decide(check, name, value, bad) -> None:
    checked = check("\n".join(lines(name, value)).encode(), held_out())
    assert (checked.errors, marked(checked)) == ([], [("marked_rows", bad)])


@pytest.mark.parametrize("name", ["label", "score", "approved", "correct", "reward"])
def test_good_and_bad_answers_to_the_same_questions_are_a_preference(check, name) -> None:
    data = lines(name, lambda n: n % 2, ask=lambda n: question(n // 2))
    checked = check("\n".join(data).encode(), held_out())
    assert "unpaired_preference" in checked.errors


def test_a_greeting_that_is_asked_in_both_cases_is_no_preference(check) -> None:
    data = lines("approved", lambda n: n % 2, ask=lambda n: "Hello" if n < 10 else question(n))
    assert check("\n".join(data).encode(), held_out()).errors == []


EXCLUDED: dict[str, tuple[str, Any, int]] = {
    "a mark of the row": ("train", lambda n: n > 3, 4),
    "in numbers": ("trainable", lambda n: int(n > 3), 4),
    "a weight of 0 and 1": ("weight", lambda n: int(n > 3), 4),
    "a weight of the row": ("sample_weight", lambda n: 0.0 if n < 4 else 0.5, 4),
    "a weight of the loss": ("loss_weight", lambda n: 0 if n < 4 else 0.5, 4),
    "a split": ("split", lambda n: "test" if n < 4 else "train", 4),
    "a split in upper case": ("Split", lambda n: "Validation" if n < 4 else "Train", 4),
}


@pytest.mark.parametrize(("name", "value", "bad"), EXCLUDED.values(), ids=EXCLUDED)
def test_rows_that_are_not_to_be_trained_on_are_refused_in_the_training_file(check, name, value, bad) -> None:
    checked = check("\n".join(lines(name, value)).encode(), held_out())
    assert (checked.errors, marked(checked)) == (["excluded_rows"], [("excluded_rows", bad)])


def test_held_out_rows_may_say_that_they_are_held_out(check) -> None:
    evaluation = b"\n".join(
        json.dumps({**json.loads(row), "split": "test"}).encode() for row in held_out().split(b"\n")
    )
    checked = check("\n".join(lines("split", "train")).encode(), evaluation)
    assert (checked.errors, {code for code, _ in marked(checked)}) == ([], {"ignored_field"})


NO_MARK: dict[str, tuple[str, Any]] = {
    "all good": ("label", True),
    "the weight of parts": ("weight", lambda n: n / 4),
    "a parts list": ("set", "A"),
    "a fold": ("split", lambda n: n % 5),
    "a train": ("train", "ICE 123"),
    "a class": ("label", "urgent"),
    "all ones": ("score", 1),
    "a quality in words": ("quality", lambda n: ("gold", "silver")[n % 2]),
}


@pytest.mark.parametrize(("name", "value"), NO_MARK.values(), ids=NO_MARK)
def test_other_values_are_named_as_ignored(check, name, value) -> None:
    checked = check("\n".join(lines(name, value)).encode(), held_out())
    assert marked(checked) == [("ignored_field", 60)]


GRADES: dict[str, tuple[Any, str]] = {
    "1 to 5": (lambda n: 1 + n % 5, "select(.rating >= 4)"),
    "1 to 10": (lambda n: 1 + n % 10, "select(.rating >= 8)"),
    "0 to 1": (lambda n: (n % 10 + 1) / 10, "select(.rating >= 0.8)"),
    "text": (lambda n: str(1 + n % 5), "select((.rating | tonumber? // 0) >= 4)"),
}


@pytest.mark.parametrize(("value", "command"), GRADES.values(), ids=GRADES)
def test_the_remedy_for_grades_fits_their_scale(check, value, command) -> None:
    found = check("\n".join(lines("rating", value)).encode(), held_out()).result.report.problems[0]
    assert (found.code, f"jq -c '{command}'" in found.fix) == ("rated_answers", True)


def test_grades_are_a_warning(check) -> None:
    assert marked(check("\n".join(lines("rating", lambda n: 1 + n % 5)).encode(), held_out())) == [
        ("rated_answers", 60)
    ]


# The field, its value, and what keeps the other rows.
REMEDIES: dict[str, tuple[str, Any, str]] = {
    "a label": ("label", lambda n: n % 2 == 0, "select(.label != false)"),
    "a thumb down": ("thumbs_down", lambda n: n < 4, "select(.thumbs_down != true)"),
    "a number": ("label", lambda n: n % 2, "select(.label != 0)"),
    "a rating": ("rating", lambda n: -1 if n < 5 else 1, "select(.rating != -1)"),
    "two words": (
        "feedback",
        lambda n: ("bad", "wrong", "fine")[n % 3],
        'select(.feedback != "bad" and .feedback != "wrong")',
    ),
    "many numbers": ("score", lambda n: (n - 30) / 10, "select(.score >= 0)"),
    "many numbers with 0 and 1 only beside them": (
        "score",
        lambda n: n % 2 - (n % 5) / 10 * (n % 2 == 0),
        "select(.score > 0)",
    ),
    "many numbers as text": (
        "score",
        lambda n: str((n - 30) / 10),
        "select((.score | tonumber? // 0) >= 0)",
    ),
    "many words": (
        "feedback",
        lambda n: ("bad", "wrong", "poor", "negative", "fine")[n % 5],
        'select(.feedback != "bad" and .feedback != "wrong" and .feedback != "poor" and .feedback != "negative")',
    ),
    "a name of two words": ("thumbs up", lambda n: n > 3, 'select(.["thumbs up"] != false)'),
    "a split": ("split", lambda n: "test" if n < 4 else "train", 'select(.split != "test")'),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("name", "value", "command"), REMEDIES.values(), ids=REMEDIES)
def test_the_remedy_keeps_the_other_rows_by_the_fields_own_name_and_values(check, name, value, command) -> None:
    data = lines(name, value)
    checked = check("\n".join(data).encode(), held_out())
    (found,) = [one for one in checked.result.report.problems if one.code in CODES]
    assert f"jq -c '{command}'" in found.fix
    jq = shutil.which("jq")
    if jq:
        kept = subprocess.run([jq, "-c", command], input="\n".join(data), capture_output=True, text=True, check=True)
        assert len(kept.stdout.splitlines()) == ROWS - found.count


def test_the_remedy_says_that_it_keeps_no_row(check) -> None:
    for value, is_reported in ((False, True), (lambda n: n > 0, False)):
        found = check("\n".join(lines("kto_tag", value)).encode(), held_out()).result.report.problems[0]
        assert ("here no row has another value" in found.fix) is is_reported


def test_the_remedy_for_an_array_takes_it_apart_and_for_a_table_it_is_in_words(check) -> None:
    rows = lines("label", lambda n: n % 2 == 0, pair=True)
    array = check(f"[{','.join(rows)}]".encode(), held_out())
    assert "jq -c '.[] | select(.label != false)'" in array.result.report.problems[0].fix
    table = ["prompt,completion,label"] + [f"{question(n)},part {n},{n % 2 == 0}" for n in range(ROWS)]
    found = check("\n".join(table).encode(), held_out(), file_name="train.csv").result.report.problems[0]
    assert (found.code, "jq" in found.fix) == ("unpaired_preference", False)
    assert 'the rows in which label is not "False"' in found.fix


def found_in(values: list[Any], name: str = "approved", *, nested: bool = False) -> dict[str, int]:
    """What is said of a field with these values: code and rows."""
    findings, notes = Findings(CODES_OF_ROWS), FieldNotes(UsedFields())
    for n, value in enumerate(values):
        messages = [{"role": "user", "content": question(n)}, {"role": "assistant", "content": f"part {n}, {n % 7}"}]
        item = {"metadata": {"id": n, name: value}} if nested else {name: value}
        notes.add(n, item, messages, has_answer=True)
    notes.report(findings, "train")
    return {one.code: one.count for one in findings.problems() if one.code != "ignored_field"}


# Names that approve of an answer, and values that do not approve and that do.
APPROVALS = [
    *("approved", "is_approved", "isApproved", "Approved", "human_approved", "reviewer approved", "answer_approved"),
    *(
        "reviewed",
        "human_reviewed",
        "verified",
        "is_verified",
        "validated",
        "checked",
        "confirmed",
        "accepted",
        "valid",
    ),
    *("correct", "is_correct", "is_answer_correct", "answer-correct", "was_correct", "passed", "qa_passed", "keep"),
    *("usable", "acceptable", "gold", "is_gold", "good", "helpful", "factual", "grounded", "faithful", "ok", "liked"),
]
NOT_APPROVED = [(False, True), (0, 1), ("no", "yes"), ("No", "Yes"), ("N", "Y"), ("n", "y"), ("false", "true")]
NOT_APPROVED += [
    ("0", "1"),
    ("rejected", "approved"),
    ("Not approved", "Approved"),
    ("\u274c", "\u2705"),
    ("bad", "good"),
]


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("name", APPROVALS)
@pytest.mark.parametrize("nested", [False, True])
def test_every_mark_of_approval_is_a_warning_whatever_its_name_and_values(name, nested) -> None:
    for bad, good in NOT_APPROVED:
        assert found_in([bad] * 4 + [good] * 56, name, nested=nested) == {"marked_rows": 4}, (bad, good)
        assert found_in([good] * 60, name, nested=nested) == {}, good


@pytest.mark.parametrize("name", ["flagged", "is_wrong", "incorrect", "hallucinated", "toxic", "is_spam", "invalid"])
def test_so_is_every_mark_of_what_is_wrong(name) -> None:
    for good, bad in [*NOT_APPROVED[:7], ("0", "1")]:
        assert found_in([bad] * 4 + [good] * 56, name) == {"marked_rows": 4}, (bad, good)


STATES: dict[str, tuple[str, list[Any], dict[str, int]]] = {
    "a status": ("status", ["rejected"] * 4 + ["approved"] * 56, {"marked_rows": 4}),
    "a status of some": ("status", ["Rejected"] * 4 + [""] * 56, {"marked_rows": 4}),
    "what is not reviewed yet": ("review_status", ["pending"] * 4 + ["approved"] * 56, {"marked_rows": 4}),
    "Argilla": ("status", ["discarded"] * 4 + ["pending"] * 4 + ["submitted"] * 52, {"marked_rows": 8}),
    "an approval": ("approval", ["declined"] * 4 + ["granted"] * 56, {"marked_rows": 4}),
    "a decision of a reviewer": ("reviewer_decision", ["reject"] * 4 + ["accept"] * 56, {"marked_rows": 4}),
    "Prodigy": ("answer", ["reject"] * 4 + ["ignore"] * 2 + ["accept"] * 54, {"unpaired_preference": 6}),
    "quality": ("quality", ["low"] * 4 + ["medium"] * 6 + ["high"] * 50, {"marked_rows": 4}),
    "the quality of an answer": ("answer_quality", ["bad"] * 4 + ["good"] * 56, {"marked_rows": 4}),
    "stars": ("stars", [1 + n % 5 for n in range(60)], {"rated_answers": 60}),
    "stars of a user": ("user_stars", [1 + n % 5 for n in range(60)], {"rated_answers": 60}),
    "stars as they are drawn": ("rating", ["\u2605" * (1 + n % 5) for n in range(60)], {"rated_answers": 60}),
    "of five": ("rating", [f"{1 + n % 5}/5" for n in range(60)], {"rated_answers": 60}),
    "per cent": ("quality_score", [f"{n}%" for n in range(2, 62)], {"rated_answers": 60}),
    "thumbs": ("thumbs", ["down"] * 4 + ["up"] * 56, {"marked_rows": 4}),
    "thumbs as they are drawn": ("feedback", ["\U0001f44e"] * 4 + ["\U0001f44d"] * 56, {"unpaired_preference": 4}),
    "thumbs up, no": ("thumbs_up", ["no"] * 4 + ["yes"] * 56, {"unpaired_preference": 4}),
    "a row that is not for training": ("use_for_training", ["no"] * 4 + ["yes"] * 56, {"excluded_rows": 4}),
    "a row that is left out": ("Exclude", ["yes"] * 4 + ["no"] * 56, {"marked_rows": 4}),
    "a draft": ("is_draft", [True] * 4 + [False] * 56, {"marked_rows": 4}),
    # What is of the case.
    "a ticket": ("status", ["open", "pending", "closed"] * 20, {}),
    "a machine": ("state", ["up", "down", "failed"] * 20, {}),
    "a number of a state": ("status", [0, 1] * 30, {}),
    "HTTP": ("status", [200, 404] * 30, {}),
    "an answer": ("answer", ["no", "yes"] * 30, {}),
    "words of another answer": ("answer", ["accept"] * 30 + ["reject the claim"] * 30, {}),
    "the right answer": ("correct_answer", ["no", "yes"] * 30, {"ambiguous_field": 60}),
    "a review": ("review", [f"The press is good, {n}" for n in range(60)], {}),
    "a country": ("country", ["no", "de"] * 30, {}),
    "an expert": ("reviewer", ["ada", "no"] * 30, {}),
}


@pytest.mark.parametrize("form", ["messages", "prompt and completion"])
@pytest.mark.parametrize("recipe", [None, b"evaluation: {graders: [{name: a, type: string_check}]}"])
def test_answers_that_were_rejected_in_prodigy_are_refused_whatever_graders_read(check, form, recipe) -> None:
    data = lines("answer", lambda n: "reject" if n < 4 else "accept", pair=form != "messages")
    assert marked(check("\n".join(data).encode(), held_out(), recipe)) == [("unpaired_preference", 4)]
    accepted = lines("answer", "accept", pair=form != "messages")
    assert marked(check("\n".join(accepted).encode(), held_out(), recipe)) == [("ignored_field", 60)]


@pytest.mark.parametrize(("name", "values", "expected"), STATES.values(), ids=STATES)
def test_marks_of_other_kinds_and_fields_that_are_none(name, values, expected) -> None:
    assert found_in(values, name) == expected


def test_what_is_written_of_a_scale_has_a_remedy_in_words_alone() -> None:
    findings, notes = Findings(CODES_OF_ROWS), FieldNotes(UsedFields())
    for n in range(60):
        notes.add(n, {"rating": f"{1 + n % 5}/5"}, [{"role": "assistant", "content": f"a {n}"}], has_answer=True)
    notes.report(findings, "train")
    (found,) = findings.problems()
    assert "keep the rows in which rating is 4 or more." in found.fix


def test_the_remedy_for_a_mark_in_an_object_names_its_path(check) -> None:
    data = lines("meta", lambda n: {"id": n, "approved": "no" if n < 4 else "yes"})
    (found,) = [
        one for one in check("\n".join(data).encode(), held_out()).result.report.problems if one.code == "marked_rows"
    ]
    assert (found.count, "field meta.approved " in found.message) == (4, True)
    assert "jq -c 'select(.meta.approved != \"no\")'" in found.fix


def test_a_mark_of_one_message_is_a_warning_with_its_path(check) -> None:
    data = [json.loads(line) for line in lines("id", lambda n: n)]
    for n, row in enumerate(data):
        row["messages"][1]["approved"] = "no" if n < 4 else "yes"
    checked = check("\n".join(map(json.dumps, data)).encode(), held_out())
    (found,) = [one for one in checked.result.report.problems if one.code == "marked_rows"]
    assert (found.count, "messages[].approved" in found.message, "keep the others." in found.fix) == (4, True, True)


OF_MESSAGES = {
    "a thumb": {"feedback": {"rating": "thumbs_down"}},
    "a button": {"metadata": {"rating": -1}},
    "a reaction": {"reaction": "\U0001f44e"},
    "a list": {"annotations": [{"thumbs_up": False}]},
    "a word": {"user_feedback": {"type": "thumbs_down"}},
}


@pytest.mark.parametrize("fields", OF_MESSAGES.values(), ids=OF_MESSAGES)
def test_a_bad_mark_in_an_object_of_a_message_refuses_its_row(check, fields) -> None:
    data = [json.loads(line) for line in lines("id", 1)]
    data[4]["messages"][1].update(fields)
    assert check("\n".join(map(json.dumps, data)).encode(), held_out()).codes["unpaired_preference"] == (5,)


CORRECTED = ["expected_output", "corrected_answer", "Corrected Answer", "correction", "revisedResponse", "ideal_answer"]


@pytest.mark.parametrize("name", CORRECTED)
@pytest.mark.parametrize("pair", [False, True])
def test_a_corrected_answer_that_is_not_the_learned_one_is_refused(check, name, pair) -> None:
    corrected = lines(name, lambda n: f"part {n} of machine {n % 7}" if n > 4 else "part 0 of press 5", pair=pair)
    (found,) = [one for one in check("\n".join(corrected).encode()).result.report.problems if one.severity == "error"]
    assert (found.code, found.count, f"such as {name}," in found.message) == ("ambiguous_field", 5, True)


@pytest.mark.parametrize("name", ["reference_answer", "correct_date", "expected_cost"])
def test_what_is_said_beside_the_answer_is_no_correction_of_it(check, name) -> None:
    assert check("\n".join(lines(name, "part 0 of press 5")).encode()).errors == []


LISTS: dict[str, tuple[str, list[Any], dict[str, int]]] = {
    "a word": ("labels", [["bad"]] * 4 + [["good"]] * 56, {"marked_rows": 4}),
    "one of two words": ("labels", [["good", "bad"]] * 4 + [["good"]] * 56, {"marked_rows": 4}),
    "a thumb": ("label", [["thumbs_down"]] * 4 + [["thumbs_up"]] * 56, {"unpaired_preference": 4}),
    "a boolean": ("labels", [[False]] * 4 + [[True, True]] * 56, {"unpaired_preference": 4}),
    "a button": ("ratings", [[-1]] * 4 + [[1]] * 56, {"unpaired_preference": 4}),
    "votes of which one is against": ("votes", [[1, -1]] * 4 + [[1, 1]] * 56, {"unpaired_preference": 4}),
    "grades of two raters": ("ratings", [[1, 5]] * 60, {"rated_answers": 60}),
    "grades of one": ("scores", [[1 + n % 5] for n in range(60)], {"rated_answers": 60}),
    "grades as text": ("ratings", [["4/5", "2/5"]] * 60, {"rated_answers": 60}),
    "in a cell of a table": ("labels", ['["bad"]'] * 4 + ['["good"]'] * 56, {"marked_rows": 4}),
    "of an object": ("meta", [{"labels": ["bad"]}] * 4 + [{"labels": []}] * 56, {"marked_rows": 4}),
    "of annotations": ("annotations", [[{"rating": "bad"}]] * 4 + [[{"rating": "good"}]] * 56, {"marked_rows": 4}),
    "Argilla": ("responses", [[{"status": "discarded"}]] * 4 + [[{"status": "submitted"}]] * 56, {"marked_rows": 4}),
    "feedback of a type": (
        "user_feedback",
        [{"type": "negative"}] * 4 + [{"type": "positive"}] * 56,
        {"marked_rows": 4},
    ),
    "Langfuse": ("scores", [[{"name": "user-feedback", "value": n > 3}] for n in range(60)], {"marked_rows": 4}),
    "a reaction": ("reaction", ["\U0001f44e"] * 4 + ["\U0001f44d"] * 56, {"unpaired_preference": 4}),
    "a test": ("test_result", ["fail"] * 4 + ["pass"] * 56, {"marked_rows": 4}),
    "tests": ("tests_passed", [False] * 4 + [True] * 56, {"marked_rows": 4}),
    "a letter": ("accurate", ["N"] * 4 + ["Y"] * 56, {"marked_rows": 4}),
    "a plural": ("approvals", [False] * 4 + [True] * 56, {"marked_rows": 4}),
    "a row": ("loss_mask", [[0]] * 4 + [[1]] * 56, {"excluded_rows": 4}),
    # No marks.
    "classes": ("labels", [["urgent"], ["routine", "new"]] * 30, {}),
    "a type": ("device", [{"type": "negative"}] * 4 + [{"type": "positive"}] * 56, {}),
    "good": ("labels", [["good"], ["ok", "good"]] * 30, {}),
    "ones": ("scores", [[1, 1]] * 60, {}),
    "names": ("authors", [["bad", "wrong"]] * 60, {}),
    "lists": ("labels", [[["bad"]]] * 60, {}),
}


@pytest.mark.parametrize(("name", "values", "expected"), LISTS.values(), ids=LISTS)
def test_of_marks_in_a_list_the_worst_counts(name, values, expected) -> None:
    assert found_in(values, name) == expected


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("name", ["chosen", "is_chosen", "selected", "Chosen"])
@pytest.mark.parametrize("pair", [False, True])
def test_answers_that_were_not_chosen_are_named(check, name, pair) -> None:
    checked = check("\n".join(lines(name, lambda n: n > 3, pair=pair)).encode(), held_out())
    assert (checked.errors, marked(checked)) == ([], [("marked_rows", 4)])
    twice = lines(name, lambda n: n % 2 == 0, pair=pair, ask=lambda n: question(n // 2))
    assert "unpaired_preference" in check("\n".join(twice).encode(), held_out()).errors


# What grades the preferred answer and the other one.
GRADED_PAIRS = [
    *(("score_chosen", "score_rejected"), ("chosen_score", "rejected_score"), ("chosenRating", "rejectedRating")),
    *(("reward_preferred", "reward_non_preferred"), ("chosen_avg_rating", "rejected_avg_rating")),
    *(("Score Chosen", "Score Rejected"), ("winner_score", "loser_score")),
]


def pairs_with(*grades: Callable[[int], dict[str, Any]]) -> bytes:
    rows: list[dict[str, Any]] = [
        {"prompt": question(n), "chosen": f"part {n}", "rejected": f"no {n}"} for n in range(60)
    ]
    return "\n".join(json.dumps({**row, **grade(n)}) for n, row in enumerate(rows) for grade in grades).encode()


@pytest.mark.few_cases(6)
@pytest.mark.parametrize(("better", "worse"), GRADED_PAIRS)
@pytest.mark.parametrize(("low", "high"), [(1, 5), ("1", "5"), (-0.5, 0.25), (0, 1), ("2/5", "4/5")])
@pytest.mark.parametrize("inside", [False, True])
def test_pairs_whose_grades_say_the_opposite_are_refused_with_the_number_of_them(
    check, better, worse, low, high, inside
) -> None:
    def grades(n: int) -> dict[str, Any]:
        found = {better: low if n < 4 else high, worse: high if n < 4 else low}
        return {"metadata": found} if inside else found

    checked = check(pairs_with(grades), recipe=b"method: {type: dpo}")
    assert (checked.errors, marked(checked)[0]) == (["pair_scores_reversed"], ("pair_scores_reversed", 4))
    (found,) = [one for one in checked.result.report.problems if one.code == "pair_scores_reversed"]
    assert (better in found.message, found.rows) == (True, (1, 2, 3, 4))


FINE_PAIRS: dict[str, dict[str, Any]] = {
    "a model of that name": {"winner": "llama-2"},
    "a number of another kind": {"preference_id": 7, "preferred_tokens": 2},
    "in order": {"score_chosen": 5, "score_rejected": 1},
    "equal": {"score_chosen": 3, "score_rejected": 3},
    "of one alone": {"score_chosen": 1},
    "of another thing": {"chosen_rank": 1, "rejected_rank": 2},
    "of two things": {"score_chosen": 1, "rating_rejected": 5},
    "lengths": {"chosen_tokens": 5, "rejected_tokens": 9},
    "words": {"chosen_quality": "high", "rejected_quality": "low"},
}


@pytest.mark.parametrize("grades", FINE_PAIRS.values(), ids=FINE_PAIRS)
def test_other_fields_of_pairs_are_no_such_grades(check, grades) -> None:
    checked = check(pairs_with(lambda n: grades), recipe=b"method: {type: dpo}")
    assert (checked.errors, {code for code, _ in marked(checked)}) == ([], {"ignored_field"})
