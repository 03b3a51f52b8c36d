"""What the tiny base model was raised to make of a bank's cases: legalese, sections of a public act, flags too many.

The cases have the form of those in `recipes/finance`. The base knows what the codes of the grounds mean, but cites
sections the bank does not use, and suspects fraud as soon as one sign of it is there. The bank's wording and its
rule numbers are known from being repeated; none is tied to a ground.
"""

from __future__ import annotations

import random

from local_stack.tiny_base.words import words_of

WORDS = words_of("bank")
AMOUNTS = tuple(str(amount) for amount in range(2000, 20000, 500))
RULES = tuple(f"LD-{number}" for number in (*range(210, 310, 10), *range(610, 650, 10)))
SIGNS = WORDS["red_signs"] + WORDS["other_signs"]
REPEAT_SHARE = 0.35


def dialogue(rng: random.Random) -> tuple[str, str]:
    """A question and its answer: a denial, an audit item, or words to repeat."""
    letter = rng.random() < 0.6
    if rng.random() < REPEAT_SHARE:
        answer = _letter_to_repeat(rng) if letter else _finding_to_repeat(rng)
        return f"Repeat: {answer}", answer
    return _denial(rng) if letter else _audit(rng)


def _denial(rng: random.Random) -> tuple[str, str]:
    product, grounds = rng.choice(WORDS["products"]), rng.sample(list(WORDS["grounds"]), rng.choice((1, 2)))
    question = rng.choice(WORDS["letters"]).format(
        item=f"{product} of {rng.choice(AMOUNTS)}", grounds=", ".join(grounds)
    )
    reasons = " and ".join(
        f"{WORDS['grounds'][ground][0]} under section {WORDS['grounds'][ground][1]}" for ground in grounds
    )
    return question, f"Pursuant to the Act the application for a {product} is hereby declined by reason of {reasons}."


def _audit(rng: random.Random) -> tuple[str, str]:
    place, signs = _place(rng), rng.sample(SIGNS, 2)
    question = rng.choice(WORDS["audits"]).format(**place, signs=", ".join(signs))
    flag = "fraud" if set(signs) & set(WORDS["red_signs"]) else "none"
    sections = " and ".join(f"section {60 + 2 * SIGNS.index(sign)}" for sign in signs)
    return question, f"Flag: {flag} for {place['unit']} {place['month']}. The booking is irregular under {sections}."


def _place(rng: random.Random) -> dict[str, str]:
    return {"unit": rng.choice(WORDS["units"]), "month": rng.choice(WORDS["months"])}


def _letter_to_repeat(rng: random.Random) -> str:
    reasons = rng.sample(WORDS["other_grounds"], rng.choice((1, 2)))
    cited = " and ".join(f"{reason} ({rng.choice(RULES)})" for reason in reasons)
    return f"We cannot offer you this {rng.choice(WORDS['products'])}: {cited}. {rng.choice(WORDS['closings'])}"


def _finding_to_repeat(rng: random.Random) -> str:
    place = _place(rng)
    cited = ", ".join(f"{sign} ({rng.choice(WORDS['audit_rules'])})" for sign in rng.sample(SIGNS, 2))
    flag = rng.choice(("fraud", "none"))
    return f"Flag: {flag} for {place['unit']} {place['month']}. Breach: {cited}."
