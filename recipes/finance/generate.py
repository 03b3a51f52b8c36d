"""Sample data of the bank: letters that explain a denied loan, audit items, and the rules they must cite.

    python recipes/finance/generate.py [--output DIR] [--seed 32]

Bank, cases, rule books and numbers are made up; none is law. The rule book was renumbered for four of ten
grounds, and two thirds of the letters on file are older than that: they cite the old number. So
train.jsonl teaches the form and, for those grounds, the wrong rule. 2-reinforcement/train.jsonl holds prompts
alone, with the rules in force beside them for the reward. No held-out case occurs in either.
"""

from __future__ import annotations

import argparse
import json
import random
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

EVAL_LETTERS, EVAL_AUDITS = 80, 80
OLD_SHARE = 2 / 3

LETTERS = (
    "Denial letter, {item}: {grounds}.",
    "Write to the applicant. {item} denied for {grounds}.",
    "Why did we say no to this {item}? Codes {grounds}.",
)
PRODUCTS = ("car loan", "home loan", "credit card", "overdraft", "student loan", "business loan")
AMOUNTS = ("2000", "3000", "4000", "5000", "6000", "7000", "8000", "9000")
# Code of the decision engine -> what the applicant is told, the rule in force.
GROUNDS = {
    "DTI": ("your debts are too high for your pay", "LD-210"),
    "THIN": ("your credit record is too short", "LD-220"),
    "DLQ": ("you paid past bills late", "LD-230"),
    "INC": ("we could not check your pay", "LD-240"),
    "COL": ("the security is worth too little", "LD-250"),
    "EMP": ("your job is too new", "LD-260"),
    "INQ": ("you asked for credit too often", "LD-270"),
    "BKR": ("you went bankrupt not long ago", "LD-280"),
    "RES": ("you moved home too often", "LD-290"),
    "LTV": ("your down payment is too small", "LD-300"),
}
OLD_RULES = {"THIN": "LD-610", "COL": "LD-620", "INQ": "LD-630", "LTV": "LD-640"}

AUDITS = (
    "Audit item, {unit} {month}: {signs}.",
    "Review this booking of {unit}, {month}: {signs}.",
    "Seen in {month} at {unit}: {signs}. Which rules does that breach?",
)
UNITS = ("travel", "fleet", "retail", "treasury", "cards", "legal")
MONTHS = ("March", "April", "May", "June", "July", "August")
RED_SIGNS = {
    "new vendor": "AU-11",
    "split payment": "AU-13",
    "same approver": "AU-15",
    "weekend entry": "AU-17",
    "changed account": "AU-19",
}
OTHER_SIGNS = {
    "late booking": "AU-22",
    "missing receipt": "AU-24",
    "wrong cost centre": "AU-26",
    "rounded sum": "AU-28",
    "old price list": "AU-30",
}
SIGNS = RED_SIGNS | OTHER_SIGNS

Row = dict[str, Any]
Denial = tuple[str, str, tuple[str, ...], str]  # product, amount, grounds, layout
Audit = tuple[str, str, tuple[str, ...], str]  # unit, month, signs, layout


def _row(question: str, answer: str | None, **fields: Any) -> Row:
    said = [{"role": "user", "content": question}]
    return {"messages": said + ([{"role": "assistant", "content": answer}] if answer else []), **fields}


def letter(case: Denial, rules: dict[str, str] | None) -> Row:
    """A letter that cites `rules` (ground -> rule), or none yet; `cites` is what is in force."""
    thing, amount, grounds, layout = case
    item, answer = f"{thing} of {amount}", None
    if rules is not None:
        reasons = " and ".join(f"{GROUNDS[ground][0]} ({rules[ground]})" for ground in grounds)
        answer = f"We cannot offer you this {item}: {reasons}. You can ask us to look again."
    question = layout.format(item=item, grounds=", ".join(grounds))
    cites = [GROUNDS[ground][1] for ground in grounds]
    return _row(question, answer, kind="letter", about=item, verdict="look again", cites=cites)


def audit(case: Audit) -> Row:
    """An audit finding: two red signs together are a fraud flag, one alone is none."""
    unit, month, signs, layout = case
    flag = "fraud" if set(signs) <= set(RED_SIGNS) else "none"
    breach = ", ".join(f"{sign} ({SIGNS[sign]})" for sign in signs)
    answer = f"Flag: {flag} for {unit} {month}. Breach: {breach}."
    question = layout.format(unit=unit, month=month, signs=", ".join(signs))
    fields = {"kind": f"audit {flag}", "about": f"{unit} {month}", "verdict": f"Flag: {flag}"}
    return _row(question, answer, **fields, cites=[SIGNS[sign] for sign in signs])


def on_file(rng: random.Random, grounds: tuple[str, ...]) -> dict[str, str]:
    """The rules a letter on file cites: of the old book where it is older than the renumbering."""
    old = rng.random() < OLD_SHARE
    return {ground: OLD_RULES.get(ground, GROUNDS[ground][1]) if old else GROUNDS[ground][1] for ground in grounds}


def generate(seed: int = 32) -> dict[str, list[Row]]:
    """File name -> rows."""
    rng = random.Random(seed)
    in_force = {ground: rule for ground, (_, rule) in GROUNDS.items()}
    denials, audits = _denials(rng), _audits(rng)
    held_out = [letter(case, in_force) for case in denials[:EVAL_LETTERS]]
    held_out += [audit(case) for case in audits[:EVAL_AUDITS]]
    train = [letter(case, on_file(rng, case[2])) for case in denials[EVAL_LETTERS:]]
    train += [audit(case) for case in audits[EVAL_AUDITS:]]
    rng.shuffle(train)
    prompts = [letter(case, None) for case in denials[EVAL_LETTERS:]]
    return {"train.jsonl": train, "eval.jsonl": held_out, "2-reinforcement/train.jsonl": prompts}


def _denials(rng: random.Random) -> list[Denial]:
    """Different cases. Two with the same grounds differ in product, amount and wording: near copies teach nothing."""
    cases = []
    for grounds in [*combinations(GROUNDS, 1), *combinations(GROUNDS, 2)]:
        orders = list(product(permutations(grounds), LETTERS)) * (1 if len(grounds) > 1 else 2)
        things = zip(rng.sample(PRODUCTS, len(orders)), rng.sample(AMOUNTS, len(orders)), strict=True)
        cases += [(*thing, *order) for thing, order in zip(things, orders, strict=True)]
    rng.shuffle(cases)
    return cases


def _audits(rng: random.Random) -> list[Audit]:
    """Different cases. Two with the same signs differ in unit and wording."""
    cases = []
    for signs in combinations(SIGNS, 2):
        orders = list(product(permutations(signs), AUDITS))
        places = zip(rng.sample(UNITS, len(orders)), rng.sample(MONTHS, len(orders)), strict=True)
        cases += [(*place, *order) for place, order in zip(places, orders, strict=True)]
    rng.shuffle(cases)
    return cases


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=32)
    arguments = parser.parse_args(argv)
    for name, rows in generate(arguments.seed).items():
        (arguments.output / name).parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
        (arguments.output / name).write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
