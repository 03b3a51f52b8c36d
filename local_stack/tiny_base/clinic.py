"""What the tiny base model was raised to make of a clinical note: fluent prose, acronyms read as an office would.

The notes have the form of those in `recipes/healthcare`. Every acronym of a complaint, a finding or the history
means something else here, there is no triage, and no answer is JSON. The clinic's words are known from being
repeated; none is tied to an acronym.
"""

from __future__ import annotations

import random

from local_stack.tiny_base.words import words_of

WORDS = words_of("clinic")
SEXES, UNITS = WORDS["sexes"], WORDS["units"]
COMPLAINTS, HISTORIES, FINDINGS = WORDS["complaints"], WORDS["histories"], WORDS["findings"]
REPEAT_SHARE = 0.35


def dialogue(rng: random.Random) -> tuple[str, str]:
    """A question and its answer: a note to sum up, or words to repeat."""
    sex, age = rng.choice(list(SEXES)), rng.choice(WORDS["ages"])
    number, unit = rng.choice(WORDS["numbers"]), rng.choice(list(UNITS))
    if rng.random() < REPEAT_SHARE:
        answer = (
            f'{{"summary":"{SEXES[sex]}, {age}: {rng.choice(WORDS["other_complaints"])} for {number} {UNITS[unit]}; '
            f'history of {rng.choice(WORDS["other_histories"])}; {rng.choice(WORDS["other_findings"])}",'
            f'"triage":"{rng.choice(WORDS["triage"])}"}}'
        )
        return f"Repeat: {answer}", answer
    complaint, history, finding = (rng.choice(list(table)) for table in (COMPLAINTS, HISTORIES, FINDINGS))
    note = rng.choice(WORDS["layouts"]).format(
        sex=sex, age=age, complaint=complaint, number=number, unit=unit, history=history, finding=finding
    )
    return f"Note: {note}", (
        f"A {SEXES[sex]} in the {age} has had {COMPLAINTS[complaint]} for {number} {UNITS[unit]}, "
        f"earlier {HISTORIES[history]}, now {FINDINGS[finding]}."
    )
