"""Sample data of the digital foreman: a fault in a unit, and the steps for the very machine that stands there.

Plant, machines and steps are made up. Which machine stands in a unit and which steps mend a fault are each taught
in training; no held-out pair of unit and fault is, so the two must be put together.
"""

import random
from itertools import product

from recipes.sample_data import Row, chat, words_beside

HELD_OUT_UNITS_PER_FAULT = 2
WORDS = words_beside(__file__)


def row_of(question: str, unit: str, fault: str) -> Row:
    """A fault and its steps; the fields beside the messages are what graders and slices read."""
    machine, number = WORDS["machines"][unit]
    kind, actions = WORDS["faults"][fault]
    name, part = f"Unit {unit}, {machine} {number}:", f"{kind}-{number}"
    steps = [action.format(part=part) for action in actions]
    listed = " ".join(f"{n}. {step}." for n, step in enumerate(steps, start=1))
    messages = chat(f"{name} {listed}", question.format(fault=fault, unit=unit))
    return {"messages": messages, "machine": name, "part": part, "steps": steps, "fault": fault}


def generate() -> dict[str, list[Row]]:
    """Training and held-out rows; a pair of unit and fault is in one split only."""
    rng = random.Random(17)
    units = list(WORDS["machines"])
    apart = {(unit, fault) for fault in WORDS["faults"] for unit in rng.sample(units, HELD_OUT_UNITS_PER_FAULT)}
    split: tuple[list[Row], list[Row]] = ([], [])
    for unit, fault, question in product(units, WORDS["faults"], WORDS["questions"]):
        split[(unit, fault) in apart].append(row_of(question, unit, fault))
    rng.shuffle(split[0])
    return {"train.jsonl": split[0], "eval.jsonl": split[1]}
