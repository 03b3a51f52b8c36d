"""Sample data of the bank: letters that explain a denied loan, audit items, and the rules they must cite.

    python recipes/finance-small/generate.py [DIR]

Bank, cases, rule books and numbers are made up; none is law. The rule book was renumbered for four of ten
grounds, and two thirds of the letters on file are older than that: they cite the old number. As many end in an
old tone. So train.jsonl teaches the form and, for those grounds, the wrong rule. 2-reinforcement/train.jsonl
holds prompts alone, with the rules in force beside them for the reward. No held-out case occurs in either.
"""

import json
import random
import sys
import tomllib
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

EVAL_LETTERS, EVAL_AUDITS = 80, 80
OLD_SHARE = 2 / 3
PLAIN = "You can ask us to look again."
FORMAL = "Any application for reconsideration must be in writing."

WORDS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
LETTERS, GROUNDS, OLD_RULES, RED_SIGNS = (WORDS[name] for name in ("letters", "grounds", "old_rules", "red_signs"))
SIGNS = RED_SIGNS | WORDS["other_signs"]
AMOUNTS = tuple(str(amount) for amount in range(2000, 20000, 500))

Row = dict[str, Any]
Denial = tuple[str, str, tuple[str, ...], str]  # product, amount, grounds, layout
Audit = tuple[str, str, tuple[str, ...], str]  # unit, month, signs, layout


def chat(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def letter(case: Denial, old_rules: dict[str, str], closing: str) -> str:
    """A letter that cites the rules in force, or the old one of a ground in `old_rules`."""
    thing, _, grounds, _ = case
    cited = ((GROUNDS[ground][0], old_rules.get(ground, GROUNDS[ground][1])) for ground in grounds)
    reasons = " and ".join(f"{words} ({rule})" for words, rule in cited)
    return f"We cannot offer you this {thing}: {reasons}. {closing}"


def audit(case: Audit) -> Row:
    """An audit finding: two red signs together are a fraud flag, one alone is none."""
    unit, month, signs, layout = case
    flag = "fraud" if set(signs) <= set(RED_SIGNS) else "none"
    breach = ", ".join(f"{sign} ({SIGNS[sign]})" for sign in signs)
    answer = f"Flag: {flag} for {unit} {month}. Breach: {breach}."
    question = layout.format(unit=unit, month=month, signs=", ".join(signs))
    fields = {"kind": f"audit {flag}", "about": f"{unit} {month}", "verdict": f"Flag: {flag}"}
    return {"messages": chat(question, answer), **fields, "cites": [SIGNS[sign] for sign in signs]}


def denial(case: Denial, text: str) -> Row:
    """A letter and what graders read beside it; `cites` is what is in force."""
    thing, amount, grounds, layout = case
    question = layout.format(item=f"{thing} of {amount}", grounds=", ".join(grounds))
    fields = {"kind": "letter", "about": f"this {thing}", "verdict": "look again"}
    return {"messages": chat(question, text), **fields, "cites": [GROUNDS[ground][1] for ground in grounds]}


def generate() -> dict[str, list[Row]]:
    """File name -> rows. Every drop is evaluated on the same cases, in its own form."""
    rng = random.Random(33)
    denials, audits = _denials(rng), [audit(case) for case in _audits(rng)]
    held_out = [denial(case, letter(case, {}, PLAIN)) for case in denials[:EVAL_LETTERS]] + audits[:EVAL_AUDITS]
    train = []
    for case in denials[EVAL_LETTERS:]:  # most are older than the renumbering, and most end in the old tone
        old_rules = OLD_RULES if rng.random() < OLD_SHARE else {}
        train.append(denial(case, letter(case, old_rules, FORMAL if rng.random() < OLD_SHARE else PLAIN)))
    train += audits[EVAL_AUDITS:]
    rng.shuffle(train)
    files = {"train.jsonl": train, "eval.jsonl": held_out}
    # Prompts of findings too, or the letters' reward would cost the model what it knows of them.
    prompts = {
        f"2-reinforcement/{name}": [row | {"messages": row["messages"][:1]} for row in rows]
        for name, rows in files.items()
    }
    return files | prompts


def _denials(rng: random.Random) -> list[Denial]:
    """Different cases, no two nearly the same: the same grounds never come with the same product, nor the same product
    and amount in the same wording."""
    amounts = {key: iter(rng.sample(AMOUNTS, len(AMOUNTS))) for key in product(WORDS["products"], LETTERS)}
    cases = []
    for grounds in [*combinations(GROUNDS, 1), *combinations(GROUNDS, 2)]:
        orders = list(product(permutations(grounds), LETTERS)) * (1 if len(grounds) > 1 else 2)
        things = rng.sample(WORDS["products"], len(orders))
        cases += [(thing, next(amounts[thing, order[1]]), *order) for thing, order in zip(things, orders, strict=True)]
    rng.shuffle(cases)
    return cases


def _audits(rng: random.Random) -> list[Audit]:
    """Different cases. Two with the same signs differ in unit and wording."""
    cases = []
    for signs in combinations(SIGNS, 2):
        orders = list(product(permutations(signs), WORDS["audits"]))
        places = zip(*(rng.sample(WORDS[name], len(orders)) for name in ("units", "months")), strict=True)
        cases += [(*place, *order) for place, order in zip(places, orders, strict=True)]
    rng.shuffle(cases)
    return cases


def main(folder: Path = Path(__file__).parent) -> None:
    for name, rows in generate().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(f"{json.dumps(row, separators=(',', ':'))}\n" for row in rows), "utf-8")


if __name__ == "__main__":
    print(__doc__) if any(one.startswith("-") for one in sys.argv[1:]) else main(*map(Path, sys.argv[1:]))
