"""Sample data of the lender: an application, the rules in force, and the letter that explains the denial.

A rule book is drawn for each month: which factors it tests, their limits and their numbers. The prompt holds it, so a
letter can only be right by reading it. Rule books, products and layouts of eval.jsonl never occur in training.
2-reinforcement has rule books that came later: prompts alone, for which nobody wrote letters.
"""

import random

from recipes.sample_data import Row, chat, words_beside

TRAIN_ROWS, HELD_OUT_CASES, PAIRED_CASES, PROMPTS = 1500, 280, 60, 400
TRAIN_BOOKS, HELD_OUT_BOOKS, PROMPT_BOOKS = 24, 8, 8
BROKEN_SHARE = 0.33
MAX_REASONS = 4  # Regulation B, official interpretation of 1002.9(b)(2): more than four are not likely to help

WORDS = words_beside(__file__)
FACTORS = {factor["key"]: factor for factor in WORDS["factors"]}
NO_RULE = "No rule is broken. An officer decides."

Rule = tuple[str, str, int]  # number, factor, limit


def written(key: str, value: float) -> str:
    """A value with its unit, as records and letters write it."""
    number, unit = f"{value:.1f}" if isinstance(value, float) else f"{value:,}", FACTORS[key]["unit"]
    months = f"{number} month{'s' * (value != 1)}"
    return {"$": f"${number}", "%": f"{number}%", "": number, "months": months}[unit]


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


def score_factors(record: dict[str, float]) -> list[str]:
    """What lowered the score, in the order of words.toml."""
    marks = [(record.get(key), factor["mark"]) for key, factor in FACTORS.items() if "mark" in factor]
    return [mark["says"] for value, mark in marks if value is not None and mark["from"] <= value <= mark["to"]]


def lowered(record: dict[str, float]) -> str:
    """The factors of the score as a letter lists them."""
    *others, last = score_factors(record) or [""]
    return f"{', '.join(others)} and {last}" if others else last


def consistent(record: dict[str, float]) -> bool:
    """A bankruptcy and late payments fit into the credit history, and the score fits what the report says."""
    late, history, bankruptcy = record["late"], record["history"], record.get("bankruptcy", 0)
    good, poor = late < 2 and not bankruptcy, bool(score_factors(record))
    return max(late, bankruptcy) < history and (record["score"] < 740 or good) and (record["score"] >= 660 or poor)


def broken(record: dict[str, float], book: list[Rule]) -> list[Rule]:
    """The rules that the record breaks, in their order."""
    sign = {"above": 1, "below": -1}
    rules = [(rule, sign[FACTORS[rule[1]]["worse"]]) for rule in book if rule[1] in record]
    return [rule for rule, worse in rules if worse * (record[rule[1]] - rule[2]) > 0]


def letter(about: str, record: dict[str, float], reasons: list[Rule], notices: list[str]) -> str:
    """The denial with its reasons and the notices that apply; the salutation goes before it."""
    lines = [f"We cannot approve your {about}. These are the reasons:"]
    for place, (number, key, limit) in enumerate(reasons, start=1):
        shown = {"value": written(key, record[key]), "limit": written(key, limit), "lowered": lowered(record)}
        text = FACTORS[key]["text"].format(**shown)
        lines.append(f"{place}. {text} ({number}).")
    lines.append("If you think a number is wrong, write to us and we will look again.")
    return "\n".join([*lines, " ".join(f"[{notice}]" for notice in notices)])


def notices_of(book: list[Rule], rules: list[Rule]) -> list[str]:
    """What a letter needs: ECOA always; FCRA 615(a), 15 USC 1681m(a), where a broken rule reads the credit report, also
    one that is not among the first reasons."""
    report = any(FACTORS[key].get("report") for _, key, _ in rules)
    score = report and any(key == "score" for _, key, _ in book)
    return ["ECOA"] * bool(rules) + ["FCRA-REPORT"] * report + ["FCRA-SCORE"] * score


def rows_of(
    rng: random.Random, product: str, layout: Row, book: list[Rule], denied: bool, names: list[str]
) -> list[Row]:
    """The same application of each name; the fields beside the messages are what graders and slices read."""
    of = WORDS["products"][product]
    amount = f"${rng.randrange(of['amounts'][0], of['amounts'][1], 500):,}"
    term = f" over {rng.choice(of['terms'])} months" if of["terms"] else ""
    record = application(rng, product, book, denied)
    while not consistent(record) or denied != bool(broken(record, book)):
        record = application(rng, product, book, denied)
    rules_broken, facts = broken(record, book), list(record)
    reasons, notices = rules_broken[:MAX_REASONS], notices_of(book, rules_broken)
    rng.shuffle(facts)
    rules = [f"{number}: {FACTORS[key]['rule'].format(limit=written(key, limit))}" for number, key, limit in book]
    system = WORDS["system"].strip() + "\nRules in force:\n" + "\n".join(rules)
    shown = [(FACTORS[key]["label"], written(key, record[key])) for key in facts]
    shown.append(("Credit score lowered by", ", ".join(score_factors(record)) or "nothing"))
    shown.append(("Report from", rng.choice(WORDS["bureaus"])))
    lines = [layout["line"].format(label=label, value=value) for label, value in shown]
    head = {"id": rng.randint(100_000, 999_999), "product": product, "amount": amount, "term": term}
    cited = [
        [str(place), FACTORS[key]["says"], written(key, record[key]), written(key, limit), number]
        for place, (number, key, limit) in enumerate(reasons, start=1)
    ]
    numbers = [value.split(" ")[0] for place, _, *values, _ in cited for value in (place, *values)]
    fields = {
        "reasons": cited,
        "score_factors": [lowered(record)] if any(key == "score" for _, key, _ in reasons) else [],
        "numbers": [amount, *numbers] if reasons else [],
        "amount": amount,
        "notices": notices,
        "kind": "denial" if reasons else "officer",
        "product": product,
    }
    text = letter(f"{product} of {amount}", record, reasons, notices)
    rows = []
    for name in names:
        question = "\n".join([layout["head"].format(**head, name=name), *lines])
        answer = f"Dear {name},\n{text}" if reasons else NO_RULE
        rows.append({"messages": chat(answer, question, system), **fields, "name": name})
    return rows


def generate() -> dict[str, list[Row]]:
    """File name -> rows; rule books, and what words.toml marks as held out, are in one file only."""
    rng = random.Random(33)
    train = cases(rng, TRAIN_ROWS, TRAIN_BOOKS)
    held_out = cases(rng, HELD_OUT_CASES, HELD_OUT_BOOKS, paired=PAIRED_CASES)
    prompts = cases(rng, PROMPTS, PROMPT_BOOKS)
    # Graders and slices read held-out rows, and the reward those of the second drop, which has no letters.
    second = {"train.jsonl": prompts, "eval.jsonl": held_out}
    return {
        "train.jsonl": [{"messages": row["messages"]} for row in train],
        "eval.jsonl": held_out,
        **{
            f"2-reinforcement/{name}": [row | {"messages": row["messages"][:2]} for row in rows]
            for name, rows in second.items()
        },
    }


def cases(rng: random.Random, count: int, books: int, paired: int = 0) -> list[Row]:
    """Rows of so many cases under so many new rule books; held-out ones have `paired`: the first stand there twice."""
    shelf, held_out = [rule_book(rng) for _ in range(books)], paired > 0
    products = [name for name, of in WORDS["products"].items() if held_out or not of.get("held_out")]
    layouts = [layout for layout in WORDS["layouts"] if layout.get("held_out", False) == held_out]
    split: list[Row] = []
    for n in range(count):
        names = [f"{rng.choice(WORDS['first'])} {rng.choice(WORDS['last'])}" for _ in range(2 if n < paired else 1)]
        denied, pair = rng.random() < 0.9, {"pair": f"pair-{n}"} if n < paired else {}
        rows = rows_of(rng, rng.choice(products), rng.choice(layouts), rng.choice(shelf), denied, names)
        split += [row | pair for row in rows]
    rng.shuffle(split)
    return split
