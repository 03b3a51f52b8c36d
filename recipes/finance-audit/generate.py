"""Sample data of the audit: bookings as records with a memo, the risk of fraud, and the signs that a booking shows.

Five of a hundred bookings are fraud, by one of six schemes, whose signs mostly show; sound bookings show signs by
chance, and their memos often explain them, which the rule engine does not read. The risk in train.jsonl is the share of
fraud among like training bookings, so the model learns calibrated numbers; `fraud` is what it was. eval.jsonl has later
days, another layout and other memos.
"""

import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import cycle
from typing import Any

from recipes.sample_data import Row, chat, words_beside

START = date(2025, 1, 1)
SMOOTHING = 2.0  # bookings of the overall rate that each group of like bookings starts with
EXPLAINED = {True: 0.1, False: 0.75}  # how often a memo explains two signs or more, by fraud

WORDS = words_beside(__file__)
LEDGER, SIGNS, SCHEMES, MEMOS, NAMES = (WORDS[key] for key in ("ledger", "signs", "schemes", "memos", "names"))


def booking(rng: random.Random, day: int, held_out: bool, turns: Iterator[str]) -> Row:
    """One booking: whether it is fraud, its signs, its memo, what the engine gives it. Schemes take turns."""
    number, fraud = f"B-{rng.randint(100_000, 999_999)}", rng.random() < LEDGER["fraud_share"]
    signs = {sign for sign, of in SIGNS.items() if rng.random() < of["often"]}
    scheme = ""
    if fraud:
        scheme = next(turns)
        signs |= {sign for sign in SCHEMES[scheme]["signs"] if rng.random() < LEDGER["sign_shown"]}
    explained = len(signs - {"N11"}) >= 2 and "N11" not in signs and rng.random() < EXPLAINED[fraud]
    kind = "press" if "N11" in signs else "explained" if explained else "plain"
    memo = rng.choice(MEMOS[f"{kind}_held_out" if held_out else kind])
    points = sum(SIGNS[sign]["points"] for sign in signs) + rng.gauss(0, WORDS["engine"]["noise"])
    shown = [sign for sign in SIGNS if sign in signs]
    facts = {"id": number, "day": day, "fraud": fraud, "scheme": scheme or "sound", "signs": shown}
    return facts | {"kind": kind, "memo": memo, "score": max(0, min(100, round(points)))}


def like(of: Row) -> tuple[Any, ...]:
    """What an auditor could count: whole schemes shown, signs beside, and whether the memo explains."""
    signs = set(of["signs"])
    whole = max(len(signs & set(scheme["signs"])) - len(scheme["signs"]) for scheme in SCHEMES.values())
    return max(whole, -2), min(len(signs), 3), of["kind"]


def record(rng: random.Random, of: Row, layout: str) -> str:
    """The booking as the ledger shows it; every sign of it can be read off."""
    signs = set(of["signs"])
    week = [START + timedelta(of["day"] // 7 * 7 + n) for n in range(7)]
    when = rng.choice([day for day in week if (day.weekday() >= 5) == ("N9" in signs)])
    limit = rng.choice(LEDGER["limits"])
    amount = rng.uniform(0.97, 0.985) * limit if "N5" in signs else rng.uniform(0.1, 0.9) * limit
    cents, hundreds = round(amount % 1, 2), amount // 100 * 100
    amount = round(amount / 100) * 100 if "N10" in signs else hundreds + rng.randint(1, 98) + cents
    requester, approver = rng.sample(NAMES["people"], 2)
    number, shown = rng.randint(1000, 9999), {"vendor": rng.choice(NAMES["vendors"])}
    for field, look in WORDS["looks"].items():
        text, *bounds = look["with" if look["sign"] in signs else "without"]
        shown[field] = text.format(number=number, n=rng.randint(*bounds) if bounds else 0)
    shown |= {"requester": requester, "approver": requester if "N7" in signs else approver}
    return layout.format(**of, **shown, weekday=f"{when:%A}", date=when, amount=f"{amount:,.2f}", limit=f"{limit:,}")


def row(rng: random.Random, of: Row, risk: float, held_out: bool) -> Row:
    """A booking with its answer; the fields beside the messages are what graders and slices read."""
    layout = rng.choice([one["text"] for one in WORDS["layouts"] if one.get("held_out", False) == held_out])
    text = f"Booking {of['id']}\nRisk: {risk:.2f}\nSigns: {', '.join(of['signs']) or 'none'}"
    return {
        "messages": chat(text, record(rng, of, layout), WORDS["system"].strip()),
        "booking": of["id"],
        "fraud": int(of["fraud"]),
        "signs": of["signs"],
        "scheme": of["scheme"],
        "engine_flag": int(of["score"] >= WORDS["engine"]["threshold"]),
    }


def generate() -> dict[str, list[Row]]:
    """Training rows of the first days, held-out rows of the last."""
    rng, turns = random.Random(41), cycle(SCHEMES)
    last = LEDGER["train_weeks"] * 7
    days = sorted(rng.randrange(LEDGER["days"]) for _ in range(LEDGER["rows"]))
    train = [booking(rng, day, False, turns) for day in days if day < last]
    held_out = [booking(rng, day, True, turns) for day in days if day >= last]
    overall = sum(of["fraud"] for of in train) / len(train)
    groups: defaultdict[tuple[Any, ...], list[bool]] = defaultdict(list)
    for of in train:
        groups[like(of)].append(of["fraud"])

    def risk(of: Row) -> float:
        group = groups[like(of)]
        return float((sum(group) + SMOOTHING * overall) / (len(group) + SMOOTHING))

    rows = [row(rng, of, risk(of), held_out=False) for of in train]
    rng.shuffle(rows)
    # Graders and slices read held-out rows alone.
    train_rows = [{"messages": entry["messages"]} for entry in rows]
    return {"train.jsonl": train_rows, "eval.jsonl": [row(rng, of, risk(of), True) for of in held_out]}
