"""Sample data of the bank: letters that explain a denied loan, and the rules they must cite.

Bank, cases, rule books and numbers are made up; none is law. The rule book was renumbered for four of ten
grounds, and two thirds of the letters on file are older than that: they cite the old number. As many end in an
old tone. So train.jsonl teaches the form and, for those grounds, the wrong rule. 2-reinforcement/train.jsonl
holds prompts alone, with the rules in force beside them for the reward. No held-out case occurs in either.
"""

import random
from itertools import combinations, permutations, product

from recipes.sample_data import Row, chat, words_beside

HELD_OUT = 110
OLD_SHARE = 2 / 3
PLAIN = "You can ask us to look again."
FORMAL = "Any application for reconsideration must be in writing."

WORDS = words_beside(__file__)
LETTERS, GROUNDS, OLD_RULES = (WORDS[name] for name in ("letters", "grounds", "old_rules"))
AMOUNTS = tuple(str(amount) for amount in range(2000, 20000, 500))

Denial = tuple[str, str, tuple[str, ...], str]  # product, amount, grounds, layout


def letter(case: Denial, old_rules: dict[str, str], closing: str) -> str:
    """A letter that cites the rules in force, or the old one of a ground in `old_rules`."""
    thing, _, grounds, _ = case
    cited = ((GROUNDS[ground][0], old_rules.get(ground, GROUNDS[ground][1])) for ground in grounds)
    reasons = " and ".join(f"{words} ({rule})" for words, rule in cited)
    return f"We cannot offer you this {thing}: {reasons}. {closing}"


def denial(case: Denial, text: str) -> Row:
    """A letter and what graders read beside it; `cites` is what is in force."""
    thing, amount, grounds, layout = case
    question = layout.format(item=f"{thing} of {amount}", grounds=", ".join(grounds))
    rules = "renumbered" if any(ground in OLD_RULES for ground in grounds) else "unchanged"
    fields = {"about": f"this {thing}", "reasons": "one" if len(grounds) == 1 else "two", "rules": rules}
    return {"messages": chat(text, question), **fields, "cites": [GROUNDS[ground][1] for ground in grounds]}


def generate() -> dict[str, list[Row]]:
    """File name -> rows. Every drop is evaluated on the same cases, in its own form."""
    rng = random.Random(33)
    cases = _denials(rng)
    held_out = [denial(case, letter(case, {}, PLAIN)) for case in cases[:HELD_OUT]]
    train = []
    for case in cases[HELD_OUT:]:  # most are older than the renumbering, and most end in the old tone
        old_rules = OLD_RULES if rng.random() < OLD_SHARE else {}
        train.append(denial(case, letter(case, old_rules, FORMAL if rng.random() < OLD_SHARE else PLAIN)))
    files = {"train.jsonl": train, "eval.jsonl": held_out}
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
