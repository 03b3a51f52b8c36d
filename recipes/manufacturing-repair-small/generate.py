"""Sample data of the digital foreman: a fault in a unit, and the steps for the very machine that stands there.

    python recipes/manufacturing-repair-small/generate.py [--output DIR] [--seed 17]

Plant, machines and steps are made up. Which machine stands in a unit and which steps mend a fault are each taught
in training; no held-out pair of unit and fault is, so the two must be put together.
"""

import argparse
import json
import random
import tomllib
from itertools import product
from pathlib import Path
from typing import Any

HELD_OUT_UNITS_PER_FAULT = 2

WORDS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
QUESTIONS, MACHINES, FAULTS = WORDS["questions"], WORDS["machines"], WORDS["faults"]

Row = dict[str, Any]


def _row(question: str, unit: str, fault: str) -> Row:
    """A fault and its steps; the fields beside the messages are what graders and slices read."""
    machine, number = MACHINES[unit]
    kind, actions = FAULTS[fault]
    part = f"{kind}-{number}"
    steps = [action.format(part=part) for action in actions]
    listed = " ".join(f"{n}. {step}." for n, step in enumerate(steps, start=1))
    return {
        "messages": [
            {"role": "user", "content": question.format(fault=fault, unit=unit)},
            {"role": "assistant", "content": f"Unit {unit}, {machine} {number}: {listed}"},
        ],
        "machine": f"Unit {unit}, {machine} {number}:",
        "part": part,
        "steps": steps,
        "fault": fault,
    }


def generate(seed: int = 17) -> tuple[list[Row], list[Row]]:
    """Training and held-out rows; a pair of unit and fault is in one split only."""
    rng = random.Random(seed)
    held_out_pairs = {
        (unit, fault) for fault in FAULTS for unit in rng.sample(list(MACHINES), HELD_OUT_UNITS_PER_FAULT)
    }
    train: list[Row] = []
    held_out: list[Row] = []
    for unit, fault, question in product(MACHINES, FAULTS, QUESTIONS):
        (held_out if (unit, fault) in held_out_pairs else train).append(_row(question, unit, fault))
    rng.shuffle(train)
    return train, held_out


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=17)
    arguments = parser.parse_args(argv)
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, rows in zip(("train.jsonl", "eval.jsonl"), generate(arguments.seed), strict=True):
        lines = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
        (arguments.output / name).write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
