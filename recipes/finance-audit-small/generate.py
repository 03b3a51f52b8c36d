"""Sample data of the bank's auditors: booked items with two signs each, the finding, and the rules it cites.

Bank, items and rule numbers are made up. Two red signs together are a fraud flag, one alone is none. No held-out case
occurs in training.
"""

import random
from itertools import combinations, permutations, product

from recipes.sample_data import Row, chat, words_beside

HELD_OUT = 110

WORDS = words_beside(__file__)
RED_SIGNS = WORDS["red_signs"]
SIGNS = RED_SIGNS | WORDS["other_signs"]

Item = tuple[str, str, tuple[str, ...], str]  # unit, month, signs, layout


def finding(item: Item) -> Row:
    """A question, its finding, and what graders read beside it."""
    unit, month, signs, layout = item
    flag = "fraud" if set(signs) <= set(RED_SIGNS) else "none"
    breach = ", ".join(f"{sign} ({SIGNS[sign]})" for sign in signs)
    question = layout.format(unit=unit, month=month, signs=", ".join(signs))
    answer = f"Flag: {flag} for {unit} {month}. Breach: {breach}."
    fields = {"flag": flag, "about": f"{unit} {month}", "cites": [SIGNS[sign] for sign in signs]}
    return {"messages": chat(answer, question)} | fields


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
