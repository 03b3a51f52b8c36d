"""The notes of the full health care recipe: labels as the system message has them, no contradiction in a patient, right
answers in other forms, and bad models that the gate refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from shared.domain.evaluation import ROUNDING, gate_verdict
from shared.grading.engine import Engine
from tests.unit.recipes.ready import RECIPES, Row, prompt_of, recipe_of, rows_of
from training_job.evaluation import report, scoring

HOME = RECIPES / "healthcare"
HELD_OUT = rows_of(HOME / "eval.jsonl")
Facts = dict[str, Any]


def answer_of(row: Row) -> Facts:
    return dict(json.loads(row["messages"][-1]["content"]))


@pytest.fixture(scope="module")
def answers() -> list[Facts]:
    return [answer_of(row) for row in (*rows_of(HOME / "train.jsonl"), *HELD_OUT)]


# The policy once more, from the words of the system message and not from the tables of the generator.
SYSTEM = str(HELD_OUT[0]["messages"][0]["content"])
LABELS = SYSTEM.split("triage: emergency with ")[1]
RED, AMBER = (
    LABELS.split(mark)[part].split(";")[0].split(", ") for mark, part in (("\nurgent with ", 0), ("\nurgent with ", 1))
)
URINARY = {"dysuria", "urinary frequency", "urinary urgency", "suprapubic pain", "flank pain"}
URINARY |= {"costovertebral angle tenderness"}
DISCHARGES = {"vaginal discharge", "urethral discharge"}
# Name in the answer: below and above which a note is urgent, then an emergency.
LIMITS = {
    "hr": (50, 109, 40, 129),
    "bp": (100, 179, 90, 219),
    "rr": (10, 21, 8, 29),
    "spo2": (95, 999, 92, 999),
    "temp": (35.5, 38.9, 34, 40.4),
    "troponin": (0, 0.04, 0, 0.04),
    "lactate": (0, 1.9, 0, 3.9),
    "ketones": (0, 1.4, 0, 2.9),
    "potassium": (3, 5.4, 2.5, 5.9),
    "glucose": (70, 299, 54, 499),
    "hemoglobin": (8, 999, 7, 999),
    "lipase": (0, 180, 0, 9999),
}


def has_fever(facts: Facts) -> bool:
    return "fever" in facts["present"] or float(facts["vitals"].get("temp", 0)) >= 38


def uti_of(facts: Facts) -> str:
    present, nitrite, esterase = set(facts["present"]), *map(facts["labs"].get, ("nitrite", "leukocyte esterase"))
    if not present & URINARY:
        return "cannot tell" if has_fever(facts) and nitrite == "positive" else "no"
    if present & DISCHARGES:
        return "no" if nitrite == "negative" else "cannot tell"
    if "positive" in (nitrite, esterase):
        return "yes"
    return "no" if nitrite == esterase == "negative" else "cannot tell"


def triage_of(facts: Facts) -> str:
    p, fever = set(facts["present"]), has_fever(facts)
    takes = re.compile("|".join(("warfarin", "apixaban", "rivaroxaban"))).search(str(facts["medications"]))
    weak = re.compile("methotrexate|prednisolone").search(str(facts["medications"]))
    pregnant, infected = facts["labs"].get("hcg") == "positive", facts["uti"] == "yes"
    out = [(0, 0)]
    for name, value in (facts["vitals"] | facts["labs"]).items():
        if name in LIMITS and re.match(r"\d", text := str(value).split("/")[0]):
            low, high, lowest, highest = LIMITS[name]
            out.append((not low <= float(text) <= high, not lowest <= float(text) <= highest))
    emergency = [
        p & set(RED),
        "chest pain" in p and p & {"sweating", "pain radiating to the arm", "shortness of breath", "fainting"},
        "fainting" in p and p & {"palpitations", "shortness of breath"},
        {"leg swelling", "shortness of breath"} <= p,
        fever and "neck stiffness" in p,
        "hives" in p and p & {"shortness of breath", "wheezing"},
        "head injury" in p and ("vomiting" in p or takes),
        p & {"black stools", "blood in stool"} and ("fainting" in p or takes),
        pregnant and p & {"abdominal pain", "vaginal bleeding", "fainting"},
        "cannot pass urine" in p and p & {"back pain", "leg pain"},
        {"eye pain", "halos around lights"} <= p,
        any(grave for _, grave in out),
    ]
    urgent = [
        p & set(AMBER),
        "abdominal pain" in p and (facts["age"] >= 65 or "missed period" in p),
        p & {"back pain", "headache"} and fever,
        {"vaginal bleeding", "dizziness"} <= p,
        fever and weak,
        infected and (fever or pregnant or facts["sex"] == "M"),
        any(odd for odd, _ in out),
    ]
    return "emergency" if any(emergency) else "urgent" if any(urgent) else "routine"


def test_every_label_follows_from_the_policy_in_the_system_message(answers: list[Facts]) -> None:
    assert (len(RED), len(AMBER)) == (15, 18)
    assert [(uti_of(one), triage_of(one)) for one in answers] == [(one["uti"], one["triage"]) for one in answers]


# Who has the first cannot deny the second.
BROADER = {
    "sudden worst headache": "headache",
    "productive cough": "cough",
    "crushing chest pain": "chest pain",
    "suicide plan": "suicidal thoughts",
    "loss of consciousness": "fainting",
    "hives": "rash",
    "tongue swelling": "swelling",
}
DRUG_NEEDS = {
    "insulin|metformin": "type 2 diabetes",
    "warfarin|apixaban|rivaroxaban": "atrial fibrillation",
    "methotrexate": "rheumatoid arthritis",
}
LATE = {"myocardial infarction", "heart failure", "chronic obstructive pulmonary disease", "atrial fibrillation"}
CONTRADICTIONS: dict[str, Callable[[Facts], object]] = {
    "a finding present and denied": lambda one: set(one["present"]) & set(one["absent"]),
    "a finding whose broader one is denied": lambda one: any(
        narrow in one["present"] and broad in one["absent"] for narrow, broad in BROADER.items()
    ),
    "a man with a finding of a woman": lambda one: (
        one["sex"] == "M" and re.search("vaginal|period", str(one["present"] + one["absent"]))
    ),
    "a fever denied and measured": lambda one: "fever" in one["absent"] and float(one["vitals"].get("temp", 0)) >= 38,
    "an age that is an identifier": lambda one: one["age"] > 89,
    "an illness of later life in the young": lambda one: one["age"] < 45 and LATE & set(one["history"]),
    "a drug without its illness": lambda one: any(
        re.search(drug, str(one["medications"])) and illness not in one["history"]
        for drug, illness in DRUG_NEEDS.items()
    ),
    "a red finding for weeks": lambda one: "weeks" in one["duration"] and set(RED) & set(one["present"]),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_no_patient_contradicts_itself(what: str, answers: list[Facts]) -> None:
    assert [one for one in answers if CONTRADICTIONS[what](one)] == []


SENSES = {
    "CVA": ("CVA tenderness", r"(?:PMH|Hx|Known|history|Background)[^\n.]*CVA"),
    "RA": ("% RA", r"(?:PMH|Hx|Known|history|Background)[^\n.]*\bRA\b"),
    "MS": ("altered MS", r"(?:PMH|Hx|Known|history|Background)[^\n.]*\bMS\b"),
    "CP": ("CP since birth", r"\bCP\b(?! since)"),
    "PE": ("PE otherwise", r"(?:PMH|Hx|Known|history|Background)[^\n.]*\bPE\b"),
    "PT": ("PT cooperative", "to PT on"),
    "BS": ("BS present", r"BS \d"),
}


@pytest.mark.parametrize("acronym", SENSES)
def test_an_acronym_stands_in_both_senses_in_the_held_out_notes(acronym: str) -> None:
    notes = [prompt_of(row) for row in HELD_OUT]
    assert [sum(bool(re.search(sense, note, re.I)) for note in notes) >= 5 for sense in SENSES[acronym]] == [True, True]


OTHER_FORMS: dict[str, Callable[[Facts], str]] = {
    "blanks after colons and commas": json.dumps,
    "a line for each part": lambda one: json.dumps(one, indent=2),
    "names in another order": lambda one: json.dumps(dict(sorted(one.items()))),
    "lists in another order": lambda one: json.dumps(
        {name: part[::-1] if isinstance(part, list) else part for name, part in one.items()}
    ),
    "capitals": lambda one: json.dumps(one | {"present": [text.capitalize() for text in one["present"]]}),
    "no blank before mg": lambda one: json.dumps(
        one | {"medications": [re.sub(r"(\d) m", r"\1m", drug) for drug in one["medications"]]}
    ),
    "numbers as numbers": lambda one: json.dumps(
        one | {"vitals": {name: part if name == "bp" else float(part) for name, part in one["vitals"].items()}}
    ),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("form", OTHER_FORMS)
def test_a_right_answer_in_another_form_earns_full_marks(form: str) -> None:
    rows = HELD_OUT[:20]
    items = [{name: value for name, value in row.items() if name != "messages"} for row in rows]
    with Engine(recipe_of(HOME).evaluation.graders) as engine:
        grades = engine.grade([OTHER_FORMS[form](answer_of(row)) for row in rows], items)
    assert [grade.parts for grade in grades if grade.score != 1] == []


def emergencies_called_routine(one: Facts, number: int, row: Row) -> Facts:
    return one | {"triage": "routine"} if one["triage"] == "emergency" and number % 10 == 0 else one


def infections_missed(one: Facts, number: int, row: Row) -> Facts:
    return one | {"uti": "no"}


def all_emergencies(one: Facts, number: int, row: Row) -> Facts:
    return one | {"triage": "emergency"}


def allergies_forgotten(one: Facts, number: int, row: Row) -> Facts:
    return one | {"allergies": one["allergies"][1:]} if number % 10 == 0 else one


def anticoagulants_forgotten(one: Facts, number: int, row: Row) -> Facts:
    return one | {"medications": [d for d in one["medications"] if not re.search("warf|apix|rivar", d)]}


def red_findings_forgotten(one: Facts, number: int, row: Row) -> Facts:
    return one | {"present": [text for text in one["present"] if text not in RED]} if number % 3 == 0 else one


def names_leaked(one: Facts, number: int, row: Row) -> Facts:
    return {row["identifiers"][0]: None} | one if row["identifiers"] and number % 5 == 0 else one


def micrograms_as_milligrams(one: Facts, number: int, row: Row) -> Facts:
    return one | {"medications": [drug.replace("mcg", "mg") for drug in one["medications"]]}


def verdict_of(change: Callable[[Facts, int, Row], Facts]) -> set[str]:
    """What the gate refuses of a model that writes the reference answers, changed, over a base that writes nothing."""
    settings = recipe_of(HOME).evaluation
    items = [{name: value for name, value in row.items() if name != "messages"} for row in HELD_OUT]
    changed = [json.dumps(change(answer_of(row), number, row)) for number, row in enumerate(HELD_OUT)]
    texts = {"base": [""] * len(items), "candidate": changed}
    models = {name: scoring.grade_answers(settings.graders, answers, items) for name, answers in texts.items()}
    generated = {name: scoring.Answers([], [1] * len(items), [False] * len(items), 1.0) for name in texts}
    result = report.summarize(settings, items, models, generated, dict.fromkeys(texts, "t"), ())
    return {check.name for check in gate_verdict(result, settings).checks if check.blocks}


@pytest.mark.ci
def test_the_reference_answers_pass_the_gate() -> None:
    assert verdict_of(lambda one, _, __: one) == set()


@pytest.mark.ci
@pytest.mark.parametrize(
    ("bad", "refused"),
    [
        (emergencies_called_routine, "grader:not_under_triaged:triage=emergency"),
        (infections_missed, "grader:uti:uti=yes"),
        (all_emergencies, "grader:triage:triage=routine"),
        (allergies_forgotten, "grader:allergies_kept"),
        (anticoagulants_forgotten, "grader:drugs_kept"),
        (red_findings_forgotten, "grader:findings_kept"),
        (names_leaked, "grader:no_identifier"),
        (micrograms_as_milligrams, "grader:no_invented_fact"),
    ],
)
def test_the_gate_refuses_a_bad_model(bad: Callable[[Facts, int, Row], Facts], refused: str) -> None:
    assert refused in verdict_of(bad)


# Grader of each slot, and what the gate lets a model leave out of every answer: findings of one or two notes, denials
# of four or fewer, and two urinary denials that stand beside nine others and more.
KEPT_BY = {"vitals": "values_kept", "labs": "values_kept", "history": "history_kept", "medications": "drugs_kept"}
KEPT_BY |= {"present": "findings_kept", "absent": "denials_kept", "allergies": "allergies_kept"}
NOT_SEEN = {
    "present": {"drooling", "pain radiating to the arm"},
    "absent": {
        "urinary urgency",
        "suprapubic pain",
        "red eye",
        "eye pain",
        "halos around lights",
        "hives",
        "head injury",
    },
}


def without(part: Any, what: str) -> Any:
    if isinstance(part, dict):
        return {name: value for name, value in part.items() if name != what}
    return [fact for fact in part if fact != what]


@pytest.mark.ci
@pytest.mark.parametrize("slot", KEPT_BY)
def test_the_gate_sees_any_one_fact_that_is_left_out_of_every_answer_but_the_rarest(slot: str) -> None:
    evaluation, right = recipe_of(HOME).evaluation, [answer_of(row) for row in HELD_OUT]
    [grader] = [each for each in evaluation.graders if each.name == KEPT_BY[slot]]
    passing = set()
    for what in {fact for one in right for fact in one[slot]}:
        texts = [json.dumps(one | {slot: without(one[slot], what)}) for one in right]
        graded = scoring.grade_answers([grader], texts, HELD_OUT)
        means = scoring.floor_scores([grader.name], evaluation.slices, HELD_OUT, graded, [*range(len(right))])
        if min(each.mean for each in means) >= evaluation.floors[grader.name] - ROUNDING:
            passing.add(what)
    assert passing == NOT_SEEN.get(slot, set())
