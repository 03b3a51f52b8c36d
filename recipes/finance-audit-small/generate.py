"""Sample data of the bank's auditors: booked items with two signs each, the finding, and the rules it cites.

    python recipes/finance-audit-small/generate.py [DIR]

Bank, items and rule numbers are made up. Two red signs together are a fraud flag, one alone is none. No held-out case
occurs in training.
"""

import json
import random
import sys
import tomllib
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

HELD_OUT = 110

WORDS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
RED_SIGNS = WORDS["red_signs"]
SIGNS = RED_SIGNS | WORDS["other_signs"]

Row = dict[str, Any]
Item = tuple[str, str, tuple[str, ...], str]  # unit, month, signs, layout


def finding(item: Item) -> Row:
    """A question, its finding, and what graders read beside it."""
    unit, month, signs, layout = item
    flag = "fraud" if set(signs) <= set(RED_SIGNS) else "none"
    breach = ", ".join(f"{sign} ({SIGNS[sign]})" for sign in signs)
    question = layout.format(unit=unit, month=month, signs=", ".join(signs))
    answer = f"Flag: {flag} for {unit} {month}. Breach: {breach}."
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "flag": flag, "about": f"{unit} {month}", "cites": [SIGNS[sign] for sign in signs]}


def generate() -> dict[str, list[Row]]:
    """File name -> rows. Two with the same signs differ in unit and wording."""
    rng = random.Random(33)
    items: list[Item] = []
    for signs in combinations(SIGNS, 2):
        orders = list(product(permutations(signs), WORDS["questions"]))
        places = zip(*(rng.sample(WORDS[name], len(orders)) for name in ("units", "months")), strict=True)
        items += [(*place, *order) for place, order in zip(places, orders, strict=True)]
    rng.shuffle(items)
    rows = [finding(item) for item in items]
    return {"train.jsonl": rows[HELD_OUT:], "eval.jsonl": rows[:HELD_OUT]}


def main(folder: Path = Path(__file__).parent) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in generate().items():
        (folder / name).write_text("".join(f"{json.dumps(row, separators=(',', ':'))}\n" for row in rows), "utf-8")


if __name__ == "__main__":
    print(__doc__) if any(one.startswith("-") for one in sys.argv[1:]) else main(*map(Path, sys.argv[1:]))
