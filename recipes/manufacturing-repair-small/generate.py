"""Sample data of the digital foreman: a fault in a unit, and the steps for the very machine that stands there.

    python recipes/manufacturing-repair-small/generate.py [DIR]

Plant, machines and steps are made up. Which machine stands in a unit and which steps mend a fault are each taught
in training; no held-out pair of unit and fault is, so the two must be put together.
"""

import json
import random
import sys
import tomllib
from itertools import product
from pathlib import Path
from typing import Any

HELD_OUT_UNITS_PER_FAULT = 2
WORDS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))

Row = dict[str, Any]


def row_of(question: str, unit: str, fault: str) -> Row:
    """A fault and its steps; the fields beside the messages are what graders and slices read."""
    machine, number = WORDS["machines"][unit]
    kind, actions = WORDS["faults"][fault]
    name, part = f"Unit {unit}, {machine} {number}:", f"{kind}-{number}"
    steps = [action.format(part=part) for action in actions]
    listed = " ".join(f"{n}. {step}." for n, step in enumerate(steps, start=1))
    turns = [("user", question.format(fault=fault, unit=unit)), ("assistant", f"{name} {listed}")]
    messages = [{"role": role, "content": content} for role, content in turns]
    return {"messages": messages, "machine": name, "part": part, "steps": steps, "fault": fault}


def generate() -> tuple[list[Row], list[Row]]:
    """Training and held-out rows; a pair of unit and fault is in one split only."""
    rng = random.Random(17)
    units = list(WORDS["machines"])
    apart = {(unit, fault) for fault in WORDS["faults"] for unit in rng.sample(units, HELD_OUT_UNITS_PER_FAULT)}
    split: tuple[list[Row], list[Row]] = ([], [])
    for unit, fault, question in product(units, WORDS["faults"], WORDS["questions"]):
        split[(unit, fault) in apart].append(row_of(question, unit, fault))
    rng.shuffle(split[0])
    return split


def main(folder: Path = Path(__file__).parent) -> None:
    for name, rows in zip(("train.jsonl", "eval.jsonl"), generate(), strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(f"{json.dumps(row, separators=(',', ':'))}\n" for row in rows), "utf-8")


if __name__ == "__main__":
    print(__doc__) if any(one.startswith("-") for one in sys.argv[1:]) else main(*map(Path, sys.argv[1:]))
