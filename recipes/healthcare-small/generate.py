"""Sample data of the clinic: short synthetic notes, their summary in a fixed form, and a triage label.

Every note is drawn from the tables of words.toml; no person, date or place stands behind one. The triage follows the
made-up policy of a made-up clinic and is no medical advice. No held-out case, which is complaint, history and
finding together, occurs in training.
"""

import json
import random
from itertools import product

from recipes.sample_data import Row, chat, words_beside

EVAL_CASES = 80
WORDS = words_beside(__file__)
COMPLAINTS, HISTORIES, FINDINGS = (WORDS[name] for name in ("complaints", "histories", "findings"))

Case = tuple[str, str, str]  # complaint, history, finding


def triage(complaint: str, finding: str) -> str:
    """The label the policy gives a note."""
    level = WORDS["complaint_level"][complaint] + WORDS["finding_adds"][finding]
    return str(WORDS["levels"][min(level, 2)])


def rows_of(rng: random.Random, case: Case) -> list[Row]:
    """One note of each layout, about people of different ages: two that are alike would teach nothing."""
    ages = rng.sample(WORDS["ages"], len(WORDS["layouts"]))
    return [_row(rng, case, age, layout) for age, layout in zip(ages, WORDS["layouts"], strict=True)]


def _row(rng: random.Random, case: Case, age: str, layout: str) -> Row:
    """A note about a case; the fields beside the messages are what graders and slices read."""
    sex, number, unit = (rng.choice(list(WORDS[table])) for table in ("sexes", "numbers", "units"))
    stated = dict(zip(("complaint", "history", "finding"), case, strict=True))
    complaint, history, finding = full = COMPLAINTS[case[0]], HISTORIES[case[1]], FINDINGS[case[2]]
    who, duration = f"{WORDS['sexes'][sex]}, {age}", f"{number} {WORDS['units'][unit]}"
    label = triage(case[0], case[2])
    answer = {"summary": f"{who}: {complaint} for {duration}; history of {history}; {finding}", "triage": label}
    question = layout.format(sex=sex, age=age, number=number, unit=unit, **stated)
    return {
        "messages": chat(json.dumps(answer, separators=(",", ":")), question),
        "complaint": complaint,
        "acronyms": dict(zip(case, full, strict=True)),
        "triage": label,
    }


def generate() -> dict[str, list[Row]]:
    """Training and held-out rows; a case of complaint, history and finding is in one split only."""
    rng = random.Random(23)
    cases = list(product(COMPLAINTS, HISTORIES, FINDINGS))
    rng.shuffle(cases)
    rows, held_out = [row for case in cases for row in rows_of(rng, case)], EVAL_CASES * len(WORDS["layouts"])
    train = rows[held_out:]
    rng.shuffle(train)
    groups = WORDS["groups"]
    grouped = [row | {"group": groups.get(row["complaint"], row["complaint"])} for row in rows[:held_out]]
    return {"train.jsonl": train, "eval.jsonl": grouped}
