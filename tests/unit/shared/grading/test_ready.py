"""Citations, schemas, labels, reading level, steps, probabilities, absence, refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.grading.engine import problems
from shared.grading.errors import GradingErrorCode
from shared.grading.ready import canonical

CITATION = {"type": "citation", "pattern": r"(\d+ CFR \d+(?:\.\d+)?)", "reference": "{{item.citations}}"}


@pytest.mark.parametrize(
    ("text", "citations", "precision", "recall", "f1"),
    [
        ("See 12 CFR 1002.9.", ["12 CFR 1002.9"], 1, 1, 1),
        ("See 12 CFR  1002.9 and 12 CFR 1002.4.", ["12 cfr 1002.9"], 0.5, 1, 2 / 3),
        ("See 12 CFR 1002.9.", ["12 CFR 1002.9", "12 CFR 1022.72"], 1, 0.5, 2 / 3),
        ("See 12 CFR 1.", ["12 CFR 1002.9"], 0, 0, 0),
        ("No source.", ["12 CFR 1002.9"], 0, 0, 0),
        ("See 12 CFR 1002.9.", [], 0, 0, 0),
        ("No source.", [], 1, 1, 1),
        ("See 12 CFR 1002.9.", "as 12 CFR 1002.9 has it", 1, 1, 1),
    ],
)
def test_citations_are_compared_with_those_of_the_row(
    text: str, citations: Any, precision: float, recall: float, f1: float, score: Any
) -> None:
    measured = {
        m: score({**CITATION, "pattern": r"(\d+ +CFR +\d+(?:\.\d+)?)", "measure": m}, text, citations=citations)
        for m in ("precision", "recall", "f1")
    }
    assert measured == {"precision": precision, "recall": recall, "f1": pytest.approx(f1)}


@pytest.mark.parametrize(
    ("text", "precision", "recall"),
    [
        ("12 and \uff19\uff19", 0.5, 1),
        ("\uff11\uff12", 1, 1),
        ("\u0661\u0662 and 99", 0.5, 1),
        ("10\u2079 and 12", 0.5, 1),
    ],
)
def test_digits_of_other_scripts_are_cited_too(text: str, precision: float, recall: float, score: Any) -> None:
    for citations in (["12"], ["\uff11\uff12"], "rate 12", "rate \uff11\uff12"):
        for measure, expected in (("precision", precision), ("recall", recall)):
            spec = {**CITATION, "pattern": r"(\d+)", "measure": measure}
            assert score(spec, text, citations=citations) == expected


def test_a_row_whose_citations_are_no_list_is_an_error(grade: Any) -> None:
    graded = grade(CITATION, "12 CFR 1", citations={"12 CFR 1": True})
    assert (graded.score, graded.errors[0].code) == (None, GradingErrorCode.INVALID_VARIABLE)


SCHEMA = {
    "type": "object",
    "properties": {"level": {"$ref": "#/$defs/level"}, "why": {"type": "string", "pattern": "^[A-Z]"}},
    "required": ["level", "why"],
    "additionalProperties": False,
    "$defs": {"level": {"enum": ["low", "high"]}},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"level": "low", "why": "Rest"}', 1),
        ('{"level": "mid", "why": "Rest"}', 0),
        ('{"level": "low", "why": "rest"}', 0),
        ('{"level": "low"}', 0),
        ("[]", 0),
    ],
)
def test_an_answer_is_held_to_its_schema(text: str, expected: float, score: Any) -> None:
    assert score({"type": "json_schema", "json_schema": SCHEMA}, text) == expected


def test_json_in_a_code_fence_is_not_json(grade: Any) -> None:
    graded = grade({"type": "json_schema", "json_schema": SCHEMA}, '```json\n{"level": "low", "why": "Rest"}\n```')
    assert (graded.score, [error.code for error in graded.errors]) == (0, [GradingErrorCode.SAMPLE_PARSE])


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "strnig"}, "strnig"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "leads nowhere"),
        ({"$ref": "http://169.254.169.254/schema"}, "leads nowhere"),
        ({"properties": {"a": {"pattern": "(?=a)"}}}, "invalid perl operator"),
        ({"patternProperties": {"^a": {}}}, "not supported"),
    ],
)
def test_a_schema_that_cannot_work_is_a_problem_of_the_recipe(schema: dict[str, Any], reason: str, read: Any) -> None:
    [(setting, message)] = problems([read({"type": "json_schema", "json_schema": schema})], "graders")
    assert setting == "graders[0].json_schema"
    assert reason in message


LABEL = {"type": "label", "labels": ["emergency", "urgent", "non-urgent"], "reference": "{{item.level}}"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Triage: URGENT.", 1),
        ("Triage: non-urgent", 0),
        ("urgent, or an emergency", 0),
        ("urgently", 0),
        ("none of these", 0),
    ],
)
def test_an_answer_names_one_label_and_the_right_one(text: str, expected: float, score: Any) -> None:
    assert score(LABEL, text, level="urgent") == expected


@pytest.mark.parametrize("disguised", ["em\u200bergency", "\uff45mergency", "\u0435mergency", "EM\u0415RGENCY"])
def test_a_label_counts_however_it_is_disguised(disguised: str, score: Any) -> None:
    assert score(LABEL, disguised, level="emergency") == 1
    assert score(LABEL, f"urgent, or {disguised}", level="urgent") == 0


def test_a_label_after_a_line_break_of_json_counts(score: Any) -> None:
    assert score(LABEL, json.dumps({"level": "urgent", "note": "or\nemergency"}), level="urgent") == 0
    assert score(LABEL, json.dumps({"level": "urgent", "note": "not\nemergency"}), level="urgent") == 1


def test_a_label_can_be_taken_from_one_place(score: Any, read: Any) -> None:
    spec = {**LABEL, "pattern": r"(?i)level: ([\w-]+)"}
    assert score(spec, "No emergency. Level: Urgent", level="urgent") == 1
    [(setting, _)] = problems([read({**LABEL, "pattern": "level"})], "graders")
    assert setting == "graders[0].pattern"


def test_a_reference_that_is_none_of_the_labels_is_an_error(grade: Any) -> None:
    assert grade(LABEL, "urgent", level="soon").errors[0].code == GradingErrorCode.INVALID_VARIABLE


def test_reading_level_is_that_of_flesch_and_kincaid(score: Any) -> None:
    # 11 words, 2 sentences, 14 syllables: 0.39 * 5.5 + 11.8 * 14 / 11 - 15.59 = 1.57
    text = "The nurse will call you today. Please take one tablet daily."
    assert score({"type": "reading_level", "max_grade": 2}, text) == 1
    assert score({"type": "reading_level", "max_grade": 0}, text) == pytest.approx(1 - 0.25 * 1.573, abs=0.001)
    hard = "Immunosuppressive pharmacotherapy necessitates individualized haematological surveillance."
    assert score({"type": "reading_level", "max_grade": 8}, hard) == 0
    assert score({"type": "reading_level", "max_grade": 8}, "... 42") == 0


STEPS = {"type": "step_order", "before": "{{item.machine}}", "reference": "{{item.steps}}"}
RIGHT = "Press 4: 1. lock out. 2. replace seal-40. 3. test."


@pytest.mark.parametrize(
    "text",
    [
        RIGHT,
        "press 4:\n1) Lock out\n2) Replace  seal-40\n3) Test",
        "Press 4. Step 1: lock out; step 2: replace seal-40; step 3: test",
    ],
)
def test_the_reference_steps_in_order_are_right_however_they_are_numbered(text: str, score: Any) -> None:
    assert score(STEPS, text, machine="Press 4:", steps=["lock out", ["replace seal-40", "swap it"], "test."]) == 1


@pytest.mark.parametrize(
    "text",
    [
        "Press 4: 1. replace seal-40. 2. lock out. 3. test.",
        "Press 4: 1. replace seal-40. 2. test. 3. lock out.",
        "Press 4: 1. replace seal-40. 2. test.",
        "Press 4: 1. do not lock out. 2. replace seal-40. 3. test.",
        "Press 4: 1. lock out. 2. replace seal-40. 3. test. 4. restart.",
        "Press 4: 1. lock out. 2. replace seal-40. 3. test. Never mind step 1.",
        "Press 4: 1. lock out with the power on. 2. replace seal-40. 3. test.",
        "Press 4: 3. lock out. 1. replace seal-40. 2. test.",
        "Press 4: 1. lock out. 1. replace seal-40. 1. test.",
        "Press 4: lock out, replace seal-40, test.",
        "Press 4: reach into the guard. 1. lock out. 2. replace seal-40. 3. test.",
        "Crane 9: 1. lock out. 2. replace seal-40. 3. test.",
        "1. lock out. 2. replace seal-40. 3. test.",
        "Press 4: 1. lock out. 2. replace seal-41. 3. test.",
        f"{RIGHT} {RIGHT}",
        "",
    ],
)
def test_steps_in_another_order_denied_added_or_left_out_score_0(text: str, score: Any) -> None:
    assert score(STEPS, text, machine="Press 4:", steps=["lock out", ["replace seal-40", "swap it"], "test."]) == 0


@pytest.mark.parametrize("step", ["", " . ", [], ["replace it", ""]], ids=repr)
def test_a_step_that_is_empty_is_an_error(step: Any, grade: Any) -> None:
    graded = grade(STEPS, "Press 4: 1. ", machine="Press 4:", steps=[step])
    assert graded.errors[0].code == GradingErrorCode.INVALID_VARIABLE


def test_a_row_without_steps_wants_what_stands_before_them_alone(score: Any) -> None:
    row = {"machine": "Escalate to the shift lead", "steps": []}
    assert score(STEPS, "Escalate to the shift lead.", **row) == 1
    assert score(STEPS, "Escalate to the shift lead. 1. lock out.", **row) == 0


PAIRS = {"type": "citation", "pattern": r"([a-z ]+) \((LD-\d+)\)", "reference": "{{item.pairs}}"}


@pytest.mark.parametrize(
    ("text", "precision", "recall"),
    [
        ("job too new (LD-260), late bills (LD-230)", 1, 1),
        ("job too new (LD-230), late bills (LD-260)", 0, 0),
        ("your faith (LD-260), late bills (LD-230)", 0.5, 0.5),
        ("job too new (LD-260), late bills (LD-230), no home (LD-1)", 2 / 3, 1),
        ("LD-260 and LD-230", 0, 0),
    ],
    ids=["right", "swapped", "another reason", "one more", "rules alone"],
)
def test_a_reason_counts_with_its_own_rule_only(text: str, precision: float, recall: float, score: Any) -> None:
    pairs = [["job too new", "LD-260"], ["Late  bills", "LD-230"]]
    measured = [score({**PAIRS, "measure": m}, text.replace(", ", "; "), pairs=pairs) for m in ("precision", "recall")]
    assert measured == pytest.approx([precision, recall])


def test_pairs_in_a_row_have_as_many_parts_as_the_pattern_has_groups(grade: Any) -> None:
    for pairs in (["LD-260"], [["a", "b", "c"]], "x", {"a": "b"}):
        graded = grade(PAIRS, "a (LD-1)", pairs=pairs)
        assert [e.code for e in graded.errors] == ([] if pairs == "x" else [GradingErrorCode.INVALID_VARIABLE]), pairs


AMOUNTS = {"type": "citation", "pattern": r"\$? ?(?:\d[\d,]*\d|\d)(?:\.\d+)?(?: ?%)?", "reference": "{{item.amounts}}"}


@pytest.mark.parametrize(
    ("text", "precision", "recall"),
    [
        ("Of $8,000.00 you asked for, 43.0 % is owed.", 1, 1),
        ("Of 8000 you asked for, 43% is owed.", 1, 1),
        ("Of 9000 you asked for, 43% is owed.", 0.5, 0.5),
        ("Of 8000 you asked for, 43 is owed.", 0.5, 0.5),
        ("Of 8,000 you asked for, 43% and 12 are owed.", 2 / 3, 1),
    ],
)
def test_numbers_are_those_of_the_record_in_any_spelling(
    text: str, precision: float, recall: float, score: Any
) -> None:
    measured = [score({**AMOUNTS, "measure": m}, text, amounts=[8000, "43 %"]) for m in ("precision", "recall")]
    assert measured == pytest.approx([precision, recall])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1,000.00", "1000", True),
        ("$1000", "1000.0", True),
        ("+5", "5", True),
        ("-5", "5", False),
        (".5", "0.50", True),
        ("007", "7", False),
        ("1,00", "100", False),
        ("12.340", "12.34", True),
        ("43%", "43 %", True),
        ("43%", "43", False),
        ("M5", "m5", True),
        ("na\u00efve", "nai\u0308ve", True),
        ("10\u00b2", "102", False),
        ("100", "1", False),
    ],
)
def test_a_number_has_one_spelling(one: str, other: str, same: bool) -> None:
    assert (canonical(one) == canonical(other)) == same


TRIAGE = {"type": "label", "labels": ["routine", "urgent", "emergency"], "reference": "{{item.level}}"}
NOT_URGENT = [
    "not urgent",
    "This is not urgent.",
    "not at all urgent",
    "non-urgent",
    "It isn't urgent.",
    "I don't think this is urgent",
    "never urgent",
    "no urgent need",
    "neither urgent nor new",
    "nothing; without urgent signs",
    "nothing urgent",
    "hardly urgent",
    "less urgent",
    "lacks urgent signs",
    "It would be wrong to call this urgent",
    "denies urgent symptoms",
    "Urgent is ruled out.",
    "urgent: no",
    "Urgent? No.",
    "urgent care is not needed",
    '"urgent": false',
    "urgent isn't right",
    "rather than urgent",
]


@pytest.mark.parametrize("text", NOT_URGENT)
def test_a_negated_label_is_not_named(text: str, score: Any) -> None:
    assert score(TRIAGE, text, level="urgent") == 0
    assert score(TRIAGE, f"{text.rstrip('.')}. Routine.", level="routine") == 1


@pytest.mark.parametrize(
    "text",
    [
        "urgent",
        "Urgent, not an emergency",
        "not an emergency but urgent",
        "no doubt urgent",
        "No fever. Urgent.",
        "Not routine: urgent",
        "not only urgent",
        "nothing but urgent",
        "neither routine nor an emergency; urgent",
        '{"triage": "urgent"}',
    ],
)
def test_a_label_beside_a_negation_is_named(text: str, score: Any) -> None:
    assert score(TRIAGE, text, level="urgent") == 1


@pytest.mark.parametrize(
    ("answer", "exact", "not_below", "not_above"),
    [
        ("routine", 0, 0, 1),
        ("urgent", 1, 1, 1),
        ("emergency", 0, 1, 0),
        ("routine or emergency", 0, 0, 0),
        ("", 0, 0, 0),
    ],
)
@pytest.mark.parametrize("pattern", [None, "(?:^| )(routine|urgent|emergency)(?: |$)"])
def test_labels_in_rising_order_tell_too_low_from_too_high(
    answer: str, exact: float, not_below: float, not_above: float, pattern: str | None, score: Any
) -> None:
    spec = {**TRIAGE, **({"pattern": pattern} if pattern else {})}
    measured = [score({**spec, "measure": m}, answer, level="urgent") for m in ("exact", "not_below", "not_above")]
    assert measured == [exact, not_below, not_above]


def test_a_pattern_that_finds_two_labels_names_none(score: Any) -> None:
    spec = {**TRIAGE, "pattern": r"Level: (\w+)"}
    assert score(spec, "Level: urgent. Level: emergency.", level="urgent") == 0
    assert score(spec, "Level: urgent. Level: Urgent.", level="urgent") == 1


CHANCE = {"type": "brier", "pattern": r"chance ([\d.]+ ?%?)", "reference": "{{item.failed}}"}


@pytest.mark.parametrize(
    ("text", "failed", "expected"),
    [
        ("chance 1", 1, 1),
        ("chance 0.", 1, None),
        ("chance 0.25", 1, 1 - 0.75**2),
        ("chance 25 %", True, 1 - 0.75**2),
        ("chance .25", "0", 1 - 0.25**2),
        ("chance 0", False, 1),
        ("chance 7", 1, None),
        ("chance 101 %", 1, None),
        ("chance 1.2.3", 1, None),
        ("chance 0.9, chance 0.1", 1, None),
        ("chance 0.9, chance 90%", 1, None),
        ("none", 0, None),
    ],
)
def test_a_probability_earns_1_less_its_squared_error_and_an_unreadable_one_0(
    text: str, failed: Any, expected: float | None, grade: Any
) -> None:
    graded = grade(CHANCE, text, failed=failed)
    assert graded.score == pytest.approx(expected or 0)
    codes = [error.code for error in graded.errors]
    assert codes == ([] if expected is not None else [GradingErrorCode.SAMPLE_PARSE])


def test_what_happened_is_0_or_1(grade: Any) -> None:
    never: tuple[Any, ...] = (0.5, "perhaps", None, [])
    for failed in never:
        assert grade(CHANCE, "chance 1", failed=failed).errors[0].code == GradingErrorCode.INVALID_VARIABLE


ABSENT = {"type": "absent", "terms": ["welfare", "AI", "{{item.names}}"], "patterns": [r"\d{3}-\d{2}-\d{4}"]}


@pytest.mark.parametrize(
    "text",
    [
        "You are on Welfare.",
        "wel-fare",
        "w e l f a r e",
        "An AI wrote it",
        "Jane Doe came",
        "JANE  DOE's",
        "Jane-Doe",
        "JaneDoe",
        "jane\ndoe",
        "Jos\u00e9",
        "JOSE",
        "Jo\u200bse",
        "MRN881",
        "mrn: 8 8 1",
        "SSN 123-45-6789",
    ],
)
def test_a_term_is_found_in_any_spelling(text: str, score: Any) -> None:
    assert score(ABSENT, text, names=["Jane Doe", "Jos\u00e9", "MRN 881"]) == 0


@pytest.mark.parametrize("text", ["", "farewell", "Plan a. I agree.", "Jane met Doenitz", "Joseph", "MRN 8812", "said"])
def test_a_part_of_another_word_is_no_term(text: str, score: Any) -> None:
    assert score(ABSENT, text, names=["Jane Doe", "Jos\u00e9", "MRN 881", " ", "--"]) == 1


@pytest.mark.parametrize(
    ("term", "text"),
    [
        ("\u6bd2\u54c1", "\u4ed6\u5438\u6bd2\u54c1\u7684"),
        ("\u6bd2\u54c1", "\u6bd2\u200b\u54c1"),
        ("\U00020bb7\u91ce", "\u6211\U00020bb7\u91ce\u4eba"),
        ("heroin", "\u8fd9\u662fheroin\u7684"),
        ("\u30d8\u30ed\u30a4\u30f3", "\u3053\u308c\u306f\uff8d\uff9b\uff72\uff9d\u3067\u3059"),
        ("\ub9c8\uc57d", "\ub9c8\uc57d\uc744"),
        ("\u0e22\u0e32\u0e1a\u0e49\u0e32", "\u0e19\u0e35\u0e48\u0e22\u0e32\u0e1a\u0e49\u0e32\u0e04\u0e23"),
        ("heroin", "h\u0435r\u043ein"),
        ("heroin", "H\u0415R\u039fIN"),
        ("heroin", "\uff48\uff45\uff52\uff4f\uff49\uff4e"),
        ("heroin", "he\u3164ro\ufe0fin"),
        ("S\u00f8ren", "Soren"),
        ("\u0645\u062e\u062f\u0631", "\u0645\u062e\u0640\u062f\u0631"),
        ("\u0432\u0440\u0430\u0447", "\u0412\u0420\u0410\u0427"),
        ("MRN 881", "MRN \u0668\u0668\u0661"),
        ("\U0001f525", "so \U0001f525hot"),
    ],
)
def test_a_term_is_found_in_any_script_and_however_it_is_disguised(term: str, text: str, score: Any) -> None:
    assert score({"type": "absent", "terms": [term]}, text) == 0


@pytest.mark.parametrize(
    ("term", "text"),
    [
        ("\u30d0\u30b9", "\u30cf\u30b9\u306e\u82b1"),
        ("\uac00", "\uac01"),
        ("\u0e21\u0e35", "\u0e21\u0e32"),
        ("pot", "\u0440\u043e\u0442"),
        ("heroin", "heroine\u306e"),
        ("881", "\u4e008812\u4e00"),
    ],
)
def test_another_word_of_the_same_script_is_no_term(term: str, text: str, score: Any) -> None:
    assert score({"type": "absent", "terms": [term]}, text) == 1


@pytest.mark.parametrize(
    "text",
    ["123\u201145\u20116789", "\uff11\uff12\uff13-45-6789", "12\u200b3-45-6789", "\u0661\u0662\u0663-45-6789"],
)
def test_a_pattern_is_found_in_what_is_seen_of_the_answer(text: str, score: Any) -> None:
    assert score({**ABSENT, "terms": []}, text) == 0


@pytest.mark.parametrize("text", ["Dear\nJane Doe", "of Jos\u00e9", "\u5f20\u4e09", "\U00020bb7", "SSN\n123-45-6789"])
def test_what_an_answer_in_json_escapes_is_found(text: str, score: Any) -> None:
    names = ["Jane Doe", "Jos\u00e9", "\u5f20\u4e09", "\U00020bb7"]
    for answer in (json.dumps({"letter": text}), f"```json\n{json.dumps([text])}\n```"):
        assert score(ABSENT, answer, names=names) == 0
    assert score(ABSENT, json.dumps({"letter": 'a\n"b" \\ \ud83d'}), names=names) == 1
    assert score(ABSENT, r"C:\welfare", names=[]) == 0


def test_what_an_answer_in_json_escapes_is_cited(score: Any) -> None:
    spec = {**CITATION, "pattern": r"(?:^|[^\w-])(\d+)", "measure": "precision"}
    assert score(spec, json.dumps({"letter": "12\n99 EUR"}), citations=["12"]) == 0.5


def test_a_row_names_no_term_or_one_and_another_value_is_an_error(score: Any, grade: Any) -> None:
    assert score(ABSENT, "Jane", names=[]) == 1
    assert [score(ABSENT, "Jane 7", names=one) for one in ("Jane", 7, ["x", 7])] == [0, 0, 0]
    for names in ({"a": "Jane"}, [None], True):
        assert grade(ABSENT, "Jane", names=names).errors[0].code == GradingErrorCode.INVALID_VARIABLE


@pytest.mark.parametrize(
    ("text", "refuse", "expected"),
    [
        ("I\u2019m sorry, but I can't help with that.", True, 1),
        ("I'm sorry, but I can't help with that.", False, 0),
        ("Take two tablets.", False, 1),
        ("Take two tablets.", "true", 0),
        ("Take two tablets. " + "And rest. " * 30 + "I cannot say more.", False, 1),
    ],
)
def test_a_refusal_is_right_where_it_is_due(text: str, refuse: Any, expected: float, score: Any) -> None:
    assert score({"type": "refusal"}, text, refuse=refuse) == expected


def test_whether_to_refuse_has_to_be_said_by_the_row(grade: Any) -> None:
    assert grade({"type": "refusal"}, "No", refuse="perhaps").errors[0].code == GradingErrorCode.INVALID_VARIABLE
