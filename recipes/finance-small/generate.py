"""Sample data of the bank: letters that explain a denied loan, audit items, and the rules they must cite.

    python recipes/finance-small/generate.py [--output DIR] [--seed 33]

Bank, cases, rule books and numbers are made up; none is law. The rule book was renumbered for four of ten
grounds, and two thirds of the letters on file are older than that: they cite the old number. As many end in an
old tone. So train.jsonl teaches the form and, for those grounds, the wrong rule. 2-reinforcement/train.jsonl
holds prompts alone, with the rules in force beside them for the reward. No held-out case occurs in either.
"""

import argparse
import json
import random
import tomllib
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

EVAL_LETTERS, EVAL_AUDITS = 80, 80
OLD_SHARE = 2 / 3
PLAIN = "You can ask us to look again."
FORMAL = "Any application for reconsideration must be in writing."

WORDS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
LETTERS, PRODUCTS, AUDITS = WORDS["letters"], WORDS["products"], WORDS["audits"]
UNITS, MONTHS = WORDS["units"], WORDS["months"]
GROUNDS, OLD_RULES = WORDS["grounds"], WORDS["old_rules"]
RED_SIGNS, OTHER_SIGNS = WORDS["red_signs"], WORDS["other_signs"]
SIGNS = RED_SIGNS | OTHER_SIGNS
AMOUNTS = tuple(str(amount) for amount in range(2000, 20000, 500))

Row = dict[str, Any]
Denial = tuple[str, str, tuple[str, ...], str]  # product, amount, grounds, layout
Audit = tuple[str, str, tuple[str, ...], str]  # unit, month, signs, layout


def chat(question: str, answer: str | None = None) -> list[dict[str, str]]:
    turns = [{"role": "user", "content": question}]
    return turns if answer is None else [*turns, {"role": "assistant", "content": answer}]


def denial_question(case: Denial) -> str:
    thing, amount, grounds, layout = case
    return layout.format(item=f"{thing} of {amount}", grounds=", ".join(grounds))


def denial_fields(case: Denial) -> Row:
    """What graders read beside a letter; `cites` is what is in force."""
    thing, _, grounds, _ = case
    cites = [GROUNDS[ground][1] for ground in grounds]
    return {"kind": "letter", "about": f"this {thing}", "verdict": "look again", "cites": cites}


def letter(case: Denial, old_rules: dict[str, str], closing: str) -> str:
    """A letter that cites the rules in force, or the old one of a ground in `old_rules`."""
    thing, _, grounds, _ = case
    cited = ((GROUNDS[ground][0], old_rules.get(ground, GROUNDS[ground][1])) for ground in grounds)
    reasons = " and ".join(f"{words} ({rule})" for words, rule in cited)
    return f"We cannot offer you this {thing}: {reasons}. {closing}"


def on_file(rng: random.Random, case: Denial) -> str:
    """A letter as it was sent: most are older than the renumbering, and most end in the old tone."""
    return letter(case, OLD_RULES if rng.random() < OLD_SHARE else {}, FORMAL if rng.random() < OLD_SHARE else PLAIN)


def audit(case: Audit) -> Row:
    """An audit finding: two red signs together are a fraud flag, one alone is none."""
    unit, month, signs, layout = case
    flag = "fraud" if set(signs) <= set(RED_SIGNS) else "none"
    breach = ", ".join(f"{sign} ({SIGNS[sign]})" for sign in signs)
    answer = f"Flag: {flag} for {unit} {month}. Breach: {breach}."
    question = layout.format(unit=unit, month=month, signs=", ".join(signs))
    fields = {"kind": f"audit {flag}", "about": f"{unit} {month}", "verdict": f"Flag: {flag}"}
    return {"messages": chat(question, answer), **fields, "cites": [SIGNS[sign] for sign in signs]}


def filed_row(case: Denial, text: str) -> Row:
    return {"messages": chat(denial_question(case), text), **denial_fields(case)}


def prompt(row: Row) -> Row:
    return {**row, "messages": row["messages"][:1]}


def generate(seed: int = 33) -> dict[str, list[Row]]:
    """File name -> rows. Every drop is evaluated on the same cases, in its own form."""
    rng = random.Random(seed)
    denials, audits = _denials(rng), _audits(rng)
    held_out_denials, filed = denials[:EVAL_LETTERS], denials[EVAL_LETTERS:]
    checked, reviewed = audits[:EVAL_AUDITS], audits[EVAL_AUDITS:]
    held_out = [filed_row(case, letter(case, {}, PLAIN)) for case in held_out_denials] + [
        audit(case) for case in checked
    ]
    train = [filed_row(case, on_file(rng, case)) for case in filed] + [audit(case) for case in reviewed]
    rng.shuffle(train)
    return {
        "train.jsonl": train,
        "eval.jsonl": held_out,
        # Findings too, or the letters' reward would cost the model what it knows of them.
        "2-reinforcement/train.jsonl": [prompt(row) for row in train],
        "2-reinforcement/eval.jsonl": [prompt(row) for row in held_out],
    }


def _denials(rng: random.Random) -> list[Denial]:
    """Different cases, no two nearly the same: the same grounds never come with the same product, nor the same product
    and amount in the same wording."""
    amounts = {key: iter(rng.sample(AMOUNTS, len(AMOUNTS))) for key in product(PRODUCTS, LETTERS)}
    cases = []
    for grounds in [*combinations(GROUNDS, 1), *combinations(GROUNDS, 2)]:
        orders = list(product(permutations(grounds), LETTERS)) * (1 if len(grounds) > 1 else 2)
        things = rng.sample(PRODUCTS, len(orders))
        cases += [(thing, next(amounts[thing, order[1]]), *order) for thing, order in zip(things, orders, strict=True)]
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
    parser.add_argument("--seed", type=int, default=33)
    arguments = parser.parse_args(argv)
    for name, rows in generate(arguments.seed).items():
        (arguments.output / name).parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
        (arguments.output / name).write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
