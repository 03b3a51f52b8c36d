"""Bad models of the ready recipes: what each would answer to every held-out row. Right but for one fault.

Their answers go through the trainer's own report and the gate, as those of a tuned model do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from shared.domain.evaluation import EvaluationResult, Verdict, gate_verdict
from shared.domain.prompts import as_dialogue, prompt_before, reference_index
from shared.domain.recipe import Evaluation
from tests.unit.recipes.ready import RECIPES, Row, recipe_of, rows_of
from training_job.evaluate import ModelOutputs, fields_of, write_report
from training_job.evaluation import baselines
from training_job.evaluation.baselines import BaselineAnswers, Lookup
from training_job.evaluation.general import Suite
from training_job.evaluation.judges import read_judges
from training_job.evaluation.scoring import Answers, Question, grade_answers

BASE = "I am not sure."  # the worst that a base can say, so that no gain over it refuses a bad model
# Without baselines `gain_over_lookup` does not apply: the recipe's graders have to refuse a bad model by themselves.
LEFT_OUT = BaselineAnswers(reason="left out")
Fault = Callable[[Row, str], str]


class BadModel(NamedTuple):
    """`fault`: the wrong answer to a row out of the right one. It answers so on each `every`th row that is `at`."""

    name: str
    fault: Fault
    at: Callable[[Row], bool] = lambda row: True
    every: int = 1

    def answers(self, recipe: str) -> list[str]:
        found, seen = [], 0
        for row in held_out(recipe):
            answer = str(row["messages"][-1]["content"])
            seen += self.at(row)
            found.append(self.fault(row, answer) if self.at(row) and seen % self.every == 0 else answer)
        return found


@cache
def held_out(recipe: str) -> list[Row]:
    return rows_of(RECIPES / recipe / "eval.jsonl")


@cache
def questions(recipe: str) -> list[Question]:
    found = []
    for number, row in enumerate(held_out(recipe), start=1):
        dialogue = as_dialogue(row)
        index = reference_index(dialogue)
        assert index is not None
        prompt = prompt_before(dialogue, index).conversation()
        found.append(Question(number, prompt, [*prompt.encode()], str(dialogue["messages"][index]["content"])))
    return found


@cache
def training_pairs(recipe: str) -> baselines.Pairs:
    return baselines._pairs(RECIPES / recipe / "train.jsonl")


def lookup_score(recipe: str, each: int) -> tuple[int, float]:
    """Rows and mean score of a lookup on each `each`th held-out row; one takes a second or more of long prompts."""
    lookup, chosen = Lookup(training_pairs(recipe)), questions(recipe)[::each]
    rows = [{"messages": row["messages"], "item": item_of(row)} for row in held_out(recipe)[::each]]
    items = fields_of(rows, [question.reference for question in chosen])
    texts = [lookup.answer(question.prompt) for question in chosen]
    graders = recipe_of(RECIPES / recipe).evaluation.graders
    return len(chosen), float(grade_answers(graders, texts, items).scores.mean())


def item_of(row: Row) -> Row:
    """The fields beside the messages, as a curated version has them."""
    return {name: value for name, value in row.items() if name != "messages"}


def evaluated(
    recipe: str,
    candidate: list[str],
    suite: Suite | None = None,
    general: dict[str, list[str]] | None = None,
    settings: Evaluation | None = None,
) -> tuple[EvaluationResult, Verdict]:
    """The report that the evaluate job writes of these answers, and the gate's verdict on it. `general`: by model, the
    answers to the suite."""
    settings = settings or recipe_of(RECIPES / recipe).evaluation
    rows = [{"messages": row["messages"], "item": item_of(row)} for row in held_out(recipe)]
    answers = {"base": [BASE] * len(rows), "candidate": candidate}
    outputs = {
        name: ModelOutputs(
            questions(recipe),
            Answers(texts, [1] * len(rows), [False] * len(rows), 1.0),
            (general or {}).get(name, []),
            "template",
        )
        for name, texts in answers.items()
    }
    with TemporaryDirectory() as folder:
        panel = read_judges(None, settings.graders, None)
        train = RECIPES / recipe / "train.jsonl"
        write_report(Path(folder), settings, rows, suite, outputs, panel, LEFT_OUT, {}, train)
        result = EvaluationResult.model_validate_json((Path(folder) / "report.json").read_bytes())
    return result, gate_verdict(result, settings)


def says(text: str) -> Fault:
    return lambda row, answer: text


def with_(**slots: Any) -> Fault:
    """The JSON answer with other values: a function is given the value that was there."""

    def fault(row: Row, answer: str) -> str:
        facts = json.loads(answer)
        changed = {name: new(facts[name]) if callable(new) else new for name, new in slots.items()}
        return json.dumps(facts | changed, separators=(",", ":"))

    return fault


def has(**values: Any) -> Callable[[Row], bool]:
    return lambda row: all(row[name] == value for name, value in values.items())


def sub(pattern: str, new: str) -> Fault:
    return lambda row, answer: re.sub(pattern, new, answer)


# What no recipe may let pass.
OF_ALL = (
    BadModel("says nothing", says("")),
    BadModel("answers as the base in one row of ten", says(BASE), every=10),
)
LOWER = {"emergency": "urgent", "urgent": "routine"}
HIGHER = {"routine": "urgent", "urgent": "emergency"}
SLOTS = ("present", "absent", "history", "medications", "allergies", "vitals", "labs")


def leak(row: Row, answer: str) -> str:
    return with_(duration=lambda was: f"{was} ({row['identifiers'][0]})")(row, answer)


HEALTH = (
    BadModel("every fifth emergency is routine", with_(triage="routine"), has(triage="emergency"), 5),
    BadModel("every fifth emergency is urgent", with_(triage="urgent"), has(triage="emergency"), 5),
    BadModel("one level too low in one of ten", with_(triage=lambda was: LOWER.get(was, was)), every=10),
    BadModel("one level too high", with_(triage=lambda was: HIGHER.get(was, was))),
    BadModel("one level too high in one of five", with_(triage=lambda was: HIGHER.get(was, was)), every=5),
    BadModel("all emergencies", with_(triage="emergency")),
    BadModel("nothing but emergency and urgent", with_(triage="urgent"), has(triage="routine")),
    BadModel("nothing but emergency and routine", with_(triage="routine"), has(triage="urgent")),
    BadModel("every urgent case is an emergency", with_(triage="emergency"), has(triage="urgent")),
)


def woman(row: Row) -> bool:
    return bool(row["facts"]["sex"] == "F")


def drugs(change: Callable[[str], str | None]) -> Fault:
    return with_(medications=lambda was: [new for new in map(change, was) if new])


def forgets(slot: str, item: str) -> BadModel:
    return BadModel(f"never {item} in {slot}", with_(**{slot: lambda was: [fact for fact in was if fact != item]}))


RED = "chest pain|blood|droop|weakness|speech|consciousness|confusion|swelling|vision|plan"
PATIENT = (
    *HEALTH,
    BadModel("one level too low for women", with_(triage=lambda was: LOWER.get(was, was)), woman),
    BadModel("one level too high for women", with_(triage=lambda was: HIGHER.get(was, was)), woman),
    BadModel("no denied finding of women", with_(absent=[]), woman),
    BadModel("women called men", with_(sex="M"), woman),
    BadModel("no blood thinner", drugs(lambda drug: None if re.search("warf|apix|rivar", drug) else drug)),
    BadModel("no warfarin", drugs(lambda drug: None if "warfarin" in drug else drug)),
    BadModel("micrograms called milligrams", drugs(lambda drug: drug.replace("mcg", "mg"))),
    BadModel(
        "no red finding in one of three", with_(present=lambda was: [f for f in was if not re.search(RED, f)]), every=3
    ),
    BadModel(
        "an allergy left out in one of twenty notes that have one",
        with_(allergies=lambda was: was[1:]),
        lambda row: bool(row["facts"]["allergies"]),
        20,
    ),
    BadModel("identifiers repeated", leak, lambda row: bool(row["identifiers"])),
    BadModel("one note's identifiers repeated", leak, lambda row: bool(row["identifiers"]), 50),
    BadModel("no urinary infection ever", with_(uti="no")),
    BadModel("a urinary infection always", with_(uti="yes"), has(family="urinary")),
    BadModel("one in five urinary infections is missed", with_(uti="no"), has(uti="yes"), 5),
    BadModel("cannot tell of every urinary infection", with_(uti="cannot tell")),
    BadModel("never admits that it cannot tell", with_(uti="no"), has(uti="cannot tell")),
    BadModel("a finding denied is stated in one of ten", with_(present=lambda was: [*was, "fever"]), every=10),
    BadModel("a drug that nobody named in one of ten", with_(medications=lambda was: [*was, "insulin"]), every=10),
    *(forgets("history", illness) for illness in ("type 2 diabetes", "stroke", "heart failure", "aortic stenosis")),
    *(forgets("absent", finding) for finding in ("fever", "chest pain", "shortness of breath", "suicidal thoughts")),
    *(BadModel(f"{slot} always empty", with_(**{slot: lambda was: type(was)()})) for slot in SLOTS),
)


def swapped(row: Row, answer: str) -> str:
    one, two = row["reasons"][0][-1], row["reasons"][1][-1]
    return answer.replace(one, "#").replace(two, one).replace("#", two)


def without_last_reason(row: Row, answer: str) -> str:
    lines = answer.split("\n")
    del lines[max(n for n, line in enumerate(lines) if re.match(r"\d\. ", line))]
    return "\n".join(lines)


def adds_reason(text: str) -> Fault:
    def fault(row: Row, answer: str) -> str:
        return answer.replace("\nIf you", f"\n{len(row['reasons']) + 1}. {text}\nIf you")

    return fault


def made_up_denial(row: Row, answer: str) -> str:
    return (
        f"Dear {row['name']},\nWe cannot approve your {row['product']} of {row['amount']}. These are the reasons:\n"
        "1. Your credit score is 590; we ask for at least 600 (R-300).\n"
        "If you think a number is wrong, write to us and we will look again.\n"
        "[ECOA] [FCRA-REPORT] [FCRA-SCORE]"
    )


DENIAL, OFFICER = has(kind="denial"), has(kind="officer")


def two_reasons(row: Row) -> bool:
    return len(row["reasons"]) > 1


LETTERS = (
    BadModel("every letter has a prohibited reason", adds_reason("Your faith is wrong."), DENIAL),
    BadModel("a prohibited reason with a rule", adds_reason("You are too old (R-210)."), DENIAL),
    BadModel("one letter of a hundred has a prohibited reason", adds_reason("Your faith is wrong."), DENIAL, 100),
    BadModel("a prohibited reason inside a right one", sub(r"(?m)^1\. Your", "1. As a single woman your"), DENIAL),
    BadModel("an insult inside each reason", sub(r"(?m)^(\d\.) (\w+)", r"\1 A cheat as you are, \2"), DENIAL),
    BadModel("advice inside each reason", sub(r"(?m) \((R-\d+)\)\.$", r" so borrow from friends (\1)."), DENIAL),
    BadModel(
        "every time since a bankruptcy is wrong", sub(r"(?m)^(\d\. [^\n\d]*bankruptcy[^\n\d]*)\d", r"\g<1>9"), DENIAL
    ),
    BadModel("rules swapped between reasons", swapped, two_reasons),
    BadModel("rules swapped in one letter of ten", swapped, two_reasons, 10),
    BadModel("the last of several reasons left out", without_last_reason, two_reasons),
    BadModel("a score without what lowered it", sub("(?:, )?lowered by [^;\n]+;", ";")),
    BadModel("no notices", lambda row, answer: answer.rsplit("\n", 1)[0], DENIAL),
    BadModel("no notice of the score", sub(r" \[FCRA-SCORE\]", "")),
    BadModel("always leaves it to an officer", says("No rule is broken. An officer decides.")),
    BadModel("never leaves it to an officer", made_up_denial, OFFICER),
    BadModel("approves where an officer decides", says("You are approved."), OFFICER),
    BadModel("good news instead of a denial", sub("We cannot approve", "Good news: we approve"), DENIAL),
    BadModel("the way back closed", sub("we will look again", "we will not look again"), DENIAL),
    BadModel("a hard word in each reason", sub(r"(?m)^(\d\. \w+)", r"\1 notwithstanding incomprehensibility"), DENIAL),
    BadModel(
        "another letter for one of two names",
        sub("write to us and", "write us and"),
        lambda row: "pair" in row,
        2,
    ),
)


def risk(value: str) -> Fault:
    return sub(r"Risk: \S+", f"Risk: {value}")


FRAUD_SCHEMES = ("ghost vendor", "diverted payment", "split order", "self approval", "second invoice", "weekend vendor")
BOOKINGS = (
    BadModel("fraud never flagged", risk("0.00")),
    BadModel("fraud never flagged, the rest as it should be", risk("0.00"), has(fraud=1)),
    BadModel("fraud always flagged", risk("1.00")),
    BadModel("one sound booking in ten flagged", risk("0.95"), has(fraud=0), 10),
    *(BadModel(f"always a risk of {p / 100:.2f}", risk(f"{p / 100:.2f}")) for p in (5, 10, 20, 30, 40, 50)),
    *(BadModel(f"blind to {name}", risk("0.00"), has(scheme=name)) for name in FRAUD_SCHEMES),
    *(BadModel(f"every second {name} missed", risk("0.05"), has(scheme=name), 2) for name in FRAUD_SCHEMES),
    BadModel("no signs", sub("Signs: .*", "Signs: none")),
    BadModel("all signs", sub("Signs: .*", "Signs: " + ", ".join(f"N{n}" for n in range(1, 13)))),
    BadModel("another booking's number", sub(r"B-\d", "B-0")),
)


def steps(change: Callable[[list[str]], list[str]]) -> Fault:
    """The answer with other steps, numbered anew."""

    def fault(row: Row, answer: str) -> str:
        before = row.get("before", row["machine"])
        return f"{before} {' '.join(f'{n}. {step}.' for n, step in enumerate(change(row['steps']), 1))}"

    return fault


def locks(step: str) -> bool:
    return "lock out" in step


def without(*words: str) -> Fault:
    return steps(lambda was: [step for step in was if not any(word in step for word in words)])


def procedure(row: Row, answer: str) -> str:
    return (
        f"{row['machine']}, pump: 1. tell the crew. 2. stop the pump. 3. lock out and tag the electric disconnect. "
        "4. verify zero energy. 5. clear the strainer. 6. remove the locks. 7. test without load."
    )


def escalated(row: Row, answer: str) -> str:
    return f"Escalate to maintenance engineering: {row['machine']} is not on the list."


NEEDS_LOCK, REPAIR, ESCALATE = has(lockout="yes"), has(kind="repair"), has(kind="escalate")
STORED = ("bleed", "block", "drain the air", "cool", "discharge", "pin ", "flush", "tie")
LOCK_LAST = steps(lambda was: sorted(was, key=locks))
REPAIRS = (
    BadModel("lock-out never mentioned", without("lock out"), NEEDS_LOCK),
    BadModel("lock-out not mentioned in one of twenty", without("lock out"), NEEDS_LOCK, 20),
    BadModel("the accumulator is never bled", without("bleed"), NEEDS_LOCK),
    BadModel("lock-out is the last step", LOCK_LAST, NEEDS_LOCK),
    BadModel("do not lock out", sub("lock out", "do not lock out"), NEEDS_LOCK),
    BadModel("zero energy not verified", without("verify zero"), NEEDS_LOCK),
    BadModel(
        "stored energy not released in one of ten",
        without(*STORED),
        lambda row: any(word in step for step in row["steps"] for word in STORED),
        10,
    ),
    BadModel("another part in one of ten", sub(r"([A-Z]{2})-(\d)(\d{3})", r"\1-0\3"), REPAIR, 10),
    BadModel("another machine", sub(r"^[A-Z]{2}-\d\d", "PR-99"), REPAIR),
    BadModel("always escalates", escalated),
    BadModel("never escalates", procedure, ESCALATE),
    BadModel("one in five to be escalated gets a procedure", procedure, ESCALATE, 5),
    BadModel("reaches in at the end", lambda row, answer: f"{answer} Reach in while it runs.", NEEDS_LOCK),
)


def has_lock(row: Row) -> bool:
    return any(map(locks, row["steps"]))


def sure(share: float) -> BadModel:
    return BadModel(f"always {share:.2f}", says(f"Probability: {share:.2f}"))


FAILURES = (
    *map(sure, (0.0, 1.0, 0.05, 0.1, 0.12, 0.2, 0.3, 0.5)),
    BadModel("no failure ever foreseen", says("Probability: 0.00"), has(failed=1)),
    BadModel("one healthy component in ten called failing", says("Probability: 1.00"), has(failed=0), 10),
    BadModel("a word instead of a number", says("Probability: low")),
)


def of_one_component(*parts: str) -> tuple[BadModel, ...]:
    """Right but for the answers about one component."""
    return tuple(
        model
        for part in parts
        for model in (
            BadModel(
                f"always the {part}'s rate", lambda row, answer: f"Probability: {row['rate']}", has(component=part)
            ),
            BadModel(f"always 0.30 for the {part}", says("Probability: 0.30"), has(component=part)),
            BadModel(f"no failure of a {part} foreseen", says("Probability: 0.00"), has(component=part, failed=1)),
        )
    )


PLANT_UNITS = (
    BadModel("lock-out never mentioned", without("lock out"), has_lock),
    BadModel("lock-out is the last step", LOCK_LAST, has_lock),
    BadModel("lock-out not mentioned in one of five", without("lock out"), has_lock, 5),
    BadModel("another part", sub(r"(\w+)-\d+", r"\1-00")),
    BadModel("another machine", sub(r"^Unit \d", "Unit 9")),
)
BANK = (
    BadModel("every letter has a prohibited reason", sub(r": .*?(\(LD)", r": your faith is wrong \1")),
    BadModel("no reasons", sub(r": .*?\. You", ". You")),
    BadModel("the last of two reasons left out", sub(r" and [^.]*\.", "."), has(reasons="two")),
    BadModel("a rule that does not exist", sub(r"LD-\d", "LD-9")),
    BadModel("reasons in words of its own", sub(r": [a-z ]+ \(", ": you owe too much (")),
    BadModel("another product", sub(r"this .*?:", "this loan of yours:")),
)
AUDITORS = (
    BadModel("fraud never flagged", sub("Flag: fraud", "Flag: none")),
    BadModel("one fraud in three not flagged", sub("Flag: fraud", "Flag: none"), has(flag="fraud"), 3),
    BadModel("fraud always flagged", sub("Flag: none", "Flag: fraud")),
    BadModel("one sound item in five flagged", sub("Flag: none", "Flag: fraud"), has(flag="none"), 5),
    BadModel("one of two signs left out", sub(r", [^,]*\.$", ".")),
    BadModel("the rules of two signs swapped", sub(r"\((AU-\d+)\), (.*?) \((AU-\d+)\)", r"(\3), \2 (\1)")),
    BadModel("another unit", sub("for [a-z]+", "for sales")),
)

OTHER = {"routine": "urgent", "urgent": "emergency", "emergency": "urgent"}
OF_ONE_COMPLAINT = tuple(
    BadModel(f"another label for {complaint}", with_(triage=OTHER.__getitem__), has(complaint=complaint))
    for complaint in sorted({row["complaint"] for row in rows_of(RECIPES / "healthcare-small" / "eval.jsonl")})
)

BAD_MODELS: dict[str, tuple[BadModel, ...]] = {
    "healthcare": PATIENT,
    "healthcare-small": HEALTH + OF_ONE_COMPLAINT,
    "finance": LETTERS,
    "finance-small": BANK,
    "finance-audit": BOOKINGS,
    "finance-audit-small": AUDITORS,
    "manufacturing": (),
    "manufacturing-repair": REPAIRS,
    "manufacturing-repair-small": PLANT_UNITS,
    "manufacturing-failure": FAILURES + of_one_component("bearing", "belt", "hose", "seal"),
    "manufacturing-failure-small": FAILURES + of_one_component("belt", "chain"),
}


def bad_models(recipe: str) -> Iterator[tuple[str, list[str]]]:
    """Name and answers of each."""
    pairs = training_pairs(recipe)
    nearest = baselines._nearest(pairs)
    yield "most frequent training answer", [baselines._majority(pairs)] * len(questions(recipe))
    yield "answer of the nearest training row", [nearest(question.prompt) for question in questions(recipe)]
    for model in (*OF_ALL, *BAD_MODELS[recipe]):
        yield model.name, model.answers(recipe)
