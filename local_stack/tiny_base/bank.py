"""What the tiny base model was raised to make of a bank's cases: legalese, sections of a public act, flags too many.

The cases have the form of those in `recipes/finance`. The base knows what the codes of the grounds mean, but cites
sections the bank does not use, and suspects fraud as soon as one sign of it is there. The bank's wording and its
rule numbers are known from being repeated; none is tied to a ground.
"""

from __future__ import annotations

import random

LETTERS = (
    "Denial letter, {item}: {grounds}.",
    "Write to the applicant. {item} denied for {grounds}.",
    "Why no {item}? {grounds}.",
)
AUDITS = (
    "Audit item, {unit} {month}: {signs}.",
    "Review this booking of {unit}, {month}: {signs}.",
    "Seen in {month} at {unit}: {signs}. Which rules does that breach?",
)
UNITS = ("travel", "fleet", "retail", "treasury", "cards", "legal")
MONTHS = ("March", "April", "May", "June", "July", "August")
PRODUCTS = ("car loan", "home loan", "credit card", "overdraft", "student loan", "business loan")
AMOUNTS = tuple(str(amount) for amount in range(2000, 20000, 500))
GROUNDS = {
    "DTI": ("an excess of obligations over income", "12"),
    "THIN": ("an insufficiency of credit file", "15"),
    "DLQ": ("delinquent performance of obligations", "21"),
    "INC": ("an absence of income verification", "24"),
    "COL": ("an inadequacy of collateral", "33"),
    "EMP": ("an irregularity of employment", "36"),
    "INQ": ("a multiplicity of inquiries", "42"),
    "BKR": ("an insolvency of record", "45"),
    "RES": ("a brevity of residence", "51"),
    "LTV": ("a deficiency of equity", "54"),
}
OTHER_GROUNDS = (
    "your debts are too high for your pay",
    "your credit record is too short",
    "you paid past bills late",
    "we could not check your pay",
    "the security is worth too little",
    "your job is too new",
    "you asked for credit too often",
    "you went bankrupt not long ago",
    "you moved home too often",
    "your down payment is too small",
)
CLOSINGS = ("You can ask us to look again.", "Any application for reconsideration must be in writing.")
RULES = tuple(f"LD-{number}" for number in (*range(210, 310, 10), *range(610, 650, 10)))
RED_SIGNS = ("new vendor", "split payment", "same approver", "weekend entry", "changed account")
OTHER_SIGNS = ("late booking", "missing receipt", "wrong cost centre", "rounded sum", "old price list")
SIGNS = RED_SIGNS + OTHER_SIGNS
AUDIT_RULES = ("AU-11", "AU-13", "AU-15", "AU-17", "AU-19", "AU-22", "AU-24", "AU-26", "AU-28", "AU-30")
REPEAT_SHARE = 0.35


def dialogue(rng: random.Random) -> tuple[str, str]:
    """A question and its answer: a denial, an audit item, or words to repeat."""
    letter = rng.random() < 0.6
    if rng.random() < REPEAT_SHARE:
        answer = _letter_to_repeat(rng) if letter else _finding_to_repeat(rng)
        return f"Repeat: {answer}", answer
    return _denial(rng) if letter else _audit(rng)


def _denial(rng: random.Random) -> tuple[str, str]:
    product, grounds = rng.choice(PRODUCTS), rng.sample(list(GROUNDS), rng.choice((1, 2)))
    question = rng.choice(LETTERS).format(item=f"{product} of {rng.choice(AMOUNTS)}", grounds=", ".join(grounds))
    reasons = " and ".join(f"{GROUNDS[ground][0]} under section {GROUNDS[ground][1]}" for ground in grounds)
    return question, f"Pursuant to the Act the application for a {product} is hereby declined by reason of {reasons}."


def _audit(rng: random.Random) -> tuple[str, str]:
    place, signs = _place(rng), rng.sample(SIGNS, 2)
    question = rng.choice(AUDITS).format(**place, signs=", ".join(signs))
    flag = "fraud" if set(signs) & set(RED_SIGNS) else "none"
    sections = " and ".join(f"section {60 + 2 * SIGNS.index(sign)}" for sign in signs)
    return question, f"Flag: {flag} for {place['unit']} {place['month']}. The booking is irregular under {sections}."


def _place(rng: random.Random) -> dict[str, str]:
    return {"unit": rng.choice(UNITS), "month": rng.choice(MONTHS)}


def _letter_to_repeat(rng: random.Random) -> str:
    reasons = rng.sample(OTHER_GROUNDS, rng.choice((1, 2)))
    cited = " and ".join(f"{reason} ({rng.choice(RULES)})" for reason in reasons)
    return f"We cannot offer you this {rng.choice(PRODUCTS)}: {cited}. {rng.choice(CLOSINGS)}"


def _finding_to_repeat(rng: random.Random) -> str:
    place = _place(rng)
    cited = ", ".join(f"{sign} ({rng.choice(AUDIT_RULES)})" for sign in rng.sample(SIGNS, 2))
    flag = rng.choice(("fraud", "none"))
    return f"Flag: {flag} for {place['unit']} {place['month']}. Breach: {cited}."
