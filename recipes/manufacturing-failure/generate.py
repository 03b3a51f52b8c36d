"""Sample data of failure prediction: a year of work orders of one asset, and how likely a component fails in 30 days.

A plant is simulated day by day: components wear by their asset's duty, most show signs before they fail, some signs
mean nothing. The answer in train.jsonl is the share of like training questions in which the component did fail, so that
the model learns calibrated numbers and not yes or no; `failed` is what happened. eval.jsonl has other assets, and later
days.
"""

import random
from collections import defaultdict
from datetime import date, timedelta
from typing import Any, NamedTuple

from recipes.sample_data import Row, chat, words_beside

HORIZON, YEAR = 30, 365  # days
LEAST = 0.01  # nothing is impossible
SMOOTHING = 1.0  # rows of the overall rate that each group of like questions starts with
START = date(2023, 1, 1)

Words = dict[str, Any]  # words.toml


class Order(NamedTuple):
    """A work order. `component` and `what` (sign, failure, planned) are the simulation's knowledge, not the text's."""

    day: int
    text: str
    component: str = ""
    what: str = ""


class Inquiry(NamedTuple):
    """One component of one asset on one day. `days` to its next failure, None where the simulation saw none."""

    asset: str
    type: str
    component: str
    day: int
    orders: list[Order]
    days: int | None
    kind: str
    signs: int
    old: bool

    @property
    def failed(self) -> bool:
        return self.days is not None and self.days <= HORIZON

    def like(self) -> tuple[Any, ...]:
        """What a planner could count: the kind of component, late signs, and whether half of its usual life is past."""
        return self.kind, self.signs, self.old


def history(rng: random.Random, type_: str, words: Words) -> list[Order]:
    """All work orders of one asset, by day."""
    days, duty, other = words["simulation"]["days"], rng.uniform(*words["types"][type_]["duty"]), words["other"]
    others = round(other["a_year"] * days / YEAR)
    orders = [Order(rng.randrange(days), rng.choice(other["texts"])) for _ in range(others)]
    for component in words["types"][type_]["components"]:
        orders += _of_component(rng, component, duty, words)
    return sorted(orders)


def _of_component(rng: random.Random, component: str, duty: float, words: Words) -> list[Order]:
    of, other, days, day = (
        words["components"][component],
        words["other"],
        words["simulation"]["days"],
        -rng.randrange(300),
    )
    alarms = range(round(of["false_alarms"] * days / YEAR))
    orders = [Order(rng.randrange(days), rng.choice(of["signs"]), component, "sign") for _ in alarms]
    while day < days:
        life = max(30, round(rng.gauss(*of["life"]) / duty))
        if rng.random() < other["planned_share"]:
            day += round(life * rng.uniform(0.5, 0.8))
            orders.append(Order(day, other["planned"].format(component=component), component, "planned"))
            continue
        if rng.random() < of["warns"]:
            for _ in range(rng.randint(1, 4)):
                before = round(of["warning_days"] * rng.random() ** 1.5)
                orders.append(Order(day + life - before, rng.choice(of["signs"]), component, "sign"))
        day += life
        orders.append(Order(day, rng.choice(of["failed"]), component, "failure"))
    return [order for order in orders if 0 <= order.day < days]


def questions(rng: random.Random, number: int, words: Words) -> list[Inquiry]:
    """Every component of one asset, every month."""
    simulation, types = words["simulation"], words["types"]
    type_ = list(types)[number % len(types)]
    orders, asset = history(rng, type_, words), f"{type_[:2].upper()}-{number:03}"
    found = []
    first = simulation["first_question"] + rng.randrange(30)
    for day in range(first, simulation["days"] - HORIZON, simulation["question_every"]):
        seen = [order for order in orders if day - simulation["history"] <= order.day < day]
        for component in types[type_]["components"]:
            ends = [o for o in orders if o.day >= day and o.component == component and o.what != "sign"]
            days = ends[0].day - day if ends and ends[0].what == "failure" else None
            own = [order for order in seen if order.component == component]
            renewed = max((order.day for order in own if order.what != "sign"), default=day - YEAR)
            late = max(renewed, day - simulation["recent"])
            signs = min(sum(order.what == "sign" and order.day > late for order in own), simulation["most_signs"])
            old = day - renewed > words["components"][component]["life"][0] / 2
            kind = words["components"][component].get("alike", component)
            found.append(Inquiry(asset, type_, component, day, seen, days, kind, signs, old))
    return found


def row(question: Inquiry, probability: float, words: Words) -> Row:
    """A question with its answer; the fields beside the messages are what graders and slices read."""
    orders = [
        words["order"].format(
            date=START + timedelta(order.day), months=(question.day - order.day) // 30, text=order.text
        )
        for order in question.orders
    ]
    shown = question._asdict() | {"orders": "".join(orders), "today": START + timedelta(question.day)}
    answer = f"Probability: {max(probability, LEAST):.2f}"
    return {
        "messages": chat(answer, words["question"].format(**shown), words["system"]),
        "failed": int(question.failed),
        "component": question.component,
        "asset": question.asset,
        "days": question.days if question.failed else None,
    }


def generate(generator: str = __file__) -> dict[str, list[Row]]:
    """Training and held-out rows: other assets, and of those only days after the last training day."""
    rng, words = random.Random(29), words_beside(generator)
    simulation = words["simulation"]
    assets, until = simulation["assets"] - simulation["assets_held_out"], simulation["train_until"]
    found = [(n, question) for n in range(simulation["assets"]) for question in questions(rng, n, words)]
    train = [question for n, question in found if n < assets and question.day + HORIZON <= until]
    held_out = [question for n, question in found if n >= assets and question.day > until]
    overall = sum(question.failed for question in train) / len(train)
    groups: defaultdict[tuple[Any, ...], list[bool]] = defaultdict(list)
    for question in train:
        groups[question.like()].append(question.failed)
        groups[(question.component,)].append(question.failed)

    def rate(*like: Any) -> float:
        return (sum(groups[like]) + SMOOTHING * overall) / (len(groups[like]) + SMOOTHING)

    rows = [row(question, rate(*question.like()), words) for question in train]
    rng.shuffle(rows)
    # `rate`: that of the component in training, which answers have to beat.
    rated = [row(q, rate(*q.like()), words) | {"rate": f"{rate(q.component):.2f}"} for q in held_out]
    return {"train.jsonl": rows, "eval.jsonl": rated}
