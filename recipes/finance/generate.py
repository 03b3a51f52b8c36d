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


def written(key: str, value: float) -> str:
    """A value with its unit, as records and letters write it."""
    number, unit = f"{value:.1f}" if isinstance(value, float) else f"{value:,}", FACTORS[key]["unit"]
    return {"$": f"${number}", "%": f"{number}%", "": number}.get(unit, f"{number} {unit}")


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
        applies = not factor.get("secured") or WORDS["products"][product].get("secured")
        if not applies or rng.random() > factor.get("share", 1):
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
    """The rules that the record breaks, in their order; at most MAX_REASONS."""
    sign = {"above": 1, "below": -1}
    rules = [(rule, sign[FACTORS[rule[1]]["worse"]]) for rule in book if rule[1] in record]
    return [rule for rule, worse in rules if worse * (record[rule[1]] - rule[2]) > 0][:MAX_REASONS]


def letter(about: str, record: dict[str, float], reasons: list[Rule], notices: list[str]) -> str:
    """The denial with its reasons and the notices that apply; the salutation goes before it."""
    lines = [f"We cannot approve your {about}. These are the reasons:"]
    for place, (number, key, limit) in enumerate(reasons, start=1):
        text = FACTORS[key]["text"].format(value=written(key, record[key]), limit=written(key, limit))
        lines.append(f"{place}. {text} ({number}).")
    lines.append("If you think a number is wrong, write to us within 60 days and we will look again.")
    return "\n".join([*lines, " ".join(f"[{notice}]" for notice in notices)])


def notices_of(book: list[Rule], reasons: list[Rule]) -> list[str]:
    """What a letter needs: ECOA always; where it uses the credit report what FCRA 615(a), 15 USC 1681m(a), asks for."""
    report = any(FACTORS[key].get("report") for _, key, _ in reasons)
    score = report and any(key == "score" for _, key, _ in book)
    return ["ECOA"] * bool(reasons) + ["FCRA-REPORT"] * report + ["FCRA-SCORE"] * score


def rows_of(
    rng: random.Random, product: str, layout: Row, book: list[Rule], denied: bool, names: list[str]
) -> list[Row]:
    """The same application of each name; the fields beside the messages are what graders and slices read."""
    of = WORDS["products"][product]
    amount = f"${rng.randrange(of['amounts'][0], of['amounts'][1], 500):,}"
    term = f" over {rng.choice(of['terms'])} months" if of["terms"] else ""
    record = application(rng, product, book, denied)
    while denied and not broken(record, book):
        record = application(rng, product, book, denied)
    reasons = broken(record, book)
    notices, facts = notices_of(book, reasons), list(record)
    rng.shuffle(facts)
    rules = [f"{number}: {FACTORS[key]['rule'].format(limit=written(key, limit))}" for number, key, limit in book]
    system = WORDS["system"].strip() + "\nRules in force:\n" + "\n".join(rules)
    shown = [(FACTORS[key]["label"], written(key, record[key])) for key in facts]
    shown.append(("Report from", rng.choice(WORDS["bureaus"])))
    lines = [layout["line"].format(label=label, value=value) for label, value in shown]
    head = {"id": rng.randint(100_000, 999_999), "product": product, "amount": amount, "term": term}
    cited = [
        [FACTORS[key]["says"], *(written(key, value).removesuffix(" months") for value in (record[key], limit)), number]
        for number, key, limit in reasons
    ]
    numbers = [amount, *(value for reason in cited for value in reason[1:3]), "60"]
    fields = {
        "reasons": cited,
        "numbers": [*numbers, *map(str, range(1, len(reasons) + 1))] if reasons else [],
        "amount": amount,
        "notices": notices,
        "kind": "denial" if reasons else "officer",
        "product": product,
    }
    text = letter(f"{product} of {amount}", record, reasons, notices)
    rows = []
    for name in names:
        question = "\n".join([layout["head"].format(**head, name=name), *lines])
        turns = [("system", system), ("user", question), ("assistant", f"Dear {name},\n{text}" if reasons else NO_RULE)]
        rows.append(
            {"messages": [{"role": role, "content": content} for role, content in turns], **fields, "name": name}
        )
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
            denied, pair = rng.random() < 0.9, {"pair": f"pair-{n}"} if paired else {}
            rows = rows_of(rng, rng.choice(products), rng.choice(layouts), rng.choice(shelf), denied, names)
            split += [row | pair for row in rows]
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
