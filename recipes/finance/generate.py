"""Sample data of the lender: an application, the rules in force, and the letter that explains the denial.

    python recipes/finance/generate.py [DIR]

A rule book is drawn for each month: which factors it tests, their limits and their numbers. The prompt holds it, so a
letter can only be right by reading it. Rule books, products and layouts of eval.jsonl never occur in training.
"""

import json
import random
import sys
import tomllib
from pathlib import Path
from typing import Any

TRAIN_ROWS, HELD_OUT_CASES, PAIRED_CASES = 1500, 280, 60
TRAIN_BOOKS, HELD_OUT_BOOKS = 24, 8
BROKEN_SHARE = 0.33
MAX_REASONS = 4  # Regulation B, official interpretation of 1002.9(b)(2): more than four are not likely to help

WORDS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
FACTORS = {factor["key"]: factor for factor in WORDS["factors"]}
NO_RULE = "No rule is broken. An officer decides."

Row = dict[str, Any]
Rule = tuple[str, str, int]  # number, factor, limit


def written(factor: dict[str, Any], value: float) -> str:
    """A value with its unit, as records and letters write it."""
    number = f"{value:.1f}" if isinstance(value, float) else f"{value:,}"
    return {"$": f"${number}", "%": f"{number}%", "": number}.get(factor["unit"], f"{number} {factor['unit']}")


def figure(key: str, value: float) -> str:
    """The value without `months`."""
    return written(FACTORS[key], value).removesuffix(" months")


def rule_book(rng: random.Random) -> list[Rule]:
    """Six to eight rules in their order, numbered from another hundred in each book."""
    keys = rng.sample(list(FACTORS), rng.randint(6, 8))
    numbers = sorted(rng.sample(range(100, 1000), len(keys)))
    return [(f"R-{number}", key, rng.choice(FACTORS[key]["limits"])) for number, key in zip(numbers, keys, strict=True)]


def application(rng: random.Random, product: str, book: list[Rule], denied: bool) -> dict[str, float]:
    """A record that breaks some of the rules, or none where the application is not to be denied."""
    record: dict[str, float] = {}
    limits = {key: limit for _, key, limit in book}
    for key, factor in FACTORS.items():
        if factor.get("secured") and not WORDS["products"][product].get("secured"):
            continue
        if rng.random() > factor.get("share", 1):
            continue
        low, high = factor["range"]
        limit = limits.get(key, factor["limits"][0])
        breaks = denied and rng.random() < BROKEN_SHARE
        if (factor["worse"] == "above") == breaks:
            low = limit + breaks
        else:
            high = limit - breaks
        value = rng.randint(low, max(low, high))
        record[key] = value + rng.randint(0, 9) / 10 * (value != limit) if factor.get("decimals") else value
    return record


def broken(record: dict[str, float], book: list[Rule]) -> list[Rule]:
    """The rules that the record breaks, in their order."""
    return [rule for rule in book if rule[1] in record and _breaks(record[rule[1]], rule)]


def _breaks(value: float, rule: Rule) -> bool:
    _, key, limit = rule
    return value > limit if FACTORS[key]["worse"] == "above" else value < limit


def letter(name: str, product: str, amount: str, record: dict[str, float], book: list[Rule]) -> str:
    """The denial with its reasons and the notices that apply."""
    reasons = broken(record, book)[:MAX_REASONS]
    if not reasons:
        return NO_RULE
    lines = [f"Dear {name},", f"We cannot approve your {product} of {amount}. These are the reasons:"]
    for place, (number, key, limit) in enumerate(reasons, start=1):
        factor = FACTORS[key]
        text = factor["text"].format(value=written(factor, record[key]), limit=written(factor, limit))
        lines.append(f"{place}. {text} ({number}).")
    lines.append("If you think a number is wrong, write to us within 60 days and we will look again.")
    return "\n".join([*lines, " ".join(f"[{notice}]" for notice in notices(book, reasons))])


def notices(book: list[Rule], reasons: list[Rule]) -> list[str]:
    """What a letter needs: ECOA always; where it uses the credit report what FCRA 615(a), 15 USC 1681m(a), asks for."""
    report = any(FACTORS[key].get("report") for _, key, _ in reasons)
    score = report and any(key == "score" for _, key, _ in book)
    return ["ECOA"] * bool(reasons) + ["FCRA-REPORT"] * report + ["FCRA-SCORE"] * score


def row(
    rng: random.Random,
    product: str,
    layout: dict[str, Any],
    book: list[Rule],
    denied: bool,
    names: list[str],
    pair: str,
) -> list[Row]:
    """The same application of each name; the fields beside the messages are what graders and slices read."""
    of = WORDS["products"][product]
    amount = f"${rng.randrange(of['amounts'][0], of['amounts'][1], 500):,}"
    term = f" over {rng.choice(of['terms'])} months" if of["terms"] else ""
    record = application(rng, product, book, denied)
    while denied and not broken(record, book):
        record = application(rng, product, book, denied)
    reasons = broken(record, book)[:MAX_REASONS]
    facts = list(record)
    rng.shuffle(facts)
    rules = [
        f"{number}: {FACTORS[key]['rule'].format(limit=written(FACTORS[key], limit))}" for number, key, limit in book
    ]
    system = WORDS["system"].strip() + "\nRules in force:\n" + "\n".join(rules)
    lines = [layout["line"].format(label=FACTORS[k]["label"], value=written(FACTORS[k], record[k])) for k in facts]
    lines.append(layout["line"].format(label="Report from", value=rng.choice(WORDS["bureaus"])))
    file = rng.randint(100_000, 999_999)
    rows = []
    for name in names:
        head = layout["head"].format(id=file, product=product, amount=amount, term=term, name=name)
        text = letter(name, product, amount, record, book)
        turns = [("system", system), ("user", "\n".join([head, *lines])), ("assistant", text)]
        values = [figure(key, value) for _, key, limit in reasons for value in (record[key], limit)]
        numbers = [amount, *values, "60", *map(str, range(1, len(reasons) + 1))]
        entry = {
            "messages": [{"role": role, "content": content} for role, content in turns],
            "reasons": [
                [FACTORS[key]["says"], figure(key, record[key]), figure(key, limit), number]
                for number, key, limit in reasons
            ],
            "numbers": numbers if reasons else [],
            "amount": amount,
            "notices": notices(book, reasons),
            "kind": "denial" if reasons else "officer",
            "product": product,
            "name": name,
        }
        rows.append(entry | ({"pair": pair} if pair else {}))
    return rows


def generate() -> tuple[list[Row], list[Row]]:
    """Training and held-out rows; rule books, and what words.toml marks as held out, are in one split only."""
    rng = random.Random(33)
    splits = []
    for held_out, cases, books in ((False, TRAIN_ROWS, TRAIN_BOOKS), (True, HELD_OUT_CASES, HELD_OUT_BOOKS)):
        shelf = [rule_book(rng) for _ in range(books)]
        products = [name for name, of in WORDS["products"].items() if held_out or not of.get("held_out")]
        layouts = [layout for layout in WORDS["layouts"] if layout.get("held_out", False) == held_out]
        split: list[Row] = []
        for n in range(cases):
            paired = held_out and n < PAIRED_CASES
            names = [f"{rng.choice(WORDS['first'])} {rng.choice(WORDS['last'])}" for _ in range(2 if paired else 1)]
            denied, pair = rng.random() < 0.9, f"pair-{n}" if paired else ""
            split += row(rng, rng.choice(products), rng.choice(layouts), rng.choice(shelf), denied, names, pair)
        rng.shuffle(split)
        splits.append(split)
    # Graders and slices read held-out rows alone.
    return [{"messages": entry["messages"]} for entry in splits[0]], splits[1]


def main(folder: Path = Path(__file__).parent) -> None:
    for name, rows in zip(("train.jsonl", "eval.jsonl"), generate(), strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(f"{json.dumps(row, separators=(',', ':'))}\n" for row in rows), "utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
