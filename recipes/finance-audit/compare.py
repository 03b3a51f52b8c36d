"""Compare a model with the rule engine: false positives at the engine's recall, over the same held-out bookings.

    python recipes/finance-audit/compare.py [ROWS] [--eval FILE]

ROWS is the `evaluation/rows.jsonl` of a run; without it the reference answers are compared.
"""

import argparse
import json
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DRAWS = 5000
RISK = re.compile(r"Risk: ([01]\.\d\d)")


def false_positives(risk: NDArray[np.float64], fraud: NDArray[np.bool_], found: int) -> int:
    """Sound bookings at or above the risk from which on the model finds as many frauds as the engine."""
    if not found:
        return 0
    threshold = np.sort(risk[fraud])[::-1][found - 1]
    return int((risk[~fraud] >= threshold).sum())


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", type=Path, nargs="?")
    parser.add_argument("--eval", type=Path, default=Path(__file__).with_name("eval.jsonl"))
    arguments = parser.parse_args(argv)
    held_out = [json.loads(line) for line in arguments.eval.read_text(encoding="utf-8").splitlines()]
    answers = [row["messages"][-1]["content"] for row in held_out]
    if arguments.rows:
        lines = [json.loads(line) for line in arguments.rows.read_text(encoding="utf-8").splitlines()]
        given = {line["row"]: line["answers"]["candidate"] for line in lines}
        answers = [given.get(number, "") for number in range(1, len(held_out) + 1)]
    read = [RISK.search(answer) for answer in answers]
    risk = np.array([float(match[1]) if match else 1.0 for match in read])
    fraud = np.array([row["fraud"] == 1 for row in held_out])
    engine = np.array([row["engine_flag"] == 1 for row in held_out])
    found, wrong = int((engine & fraud).sum()), int((engine & ~fraud).sum())
    print(f"{len(risk)} bookings, {fraud.sum()} fraudulent; answers without a risk count as 1: {read.count(None)}")
    print(f"rule engine: finds {found}, false positives {wrong}")
    print(f"model, finding as many: false positives {false_positives(risk, fraud, found)}")
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(DRAWS):
        drawn = rng.integers(0, len(risk), len(risk))
        again = engine[drawn] & fraud[drawn]
        sound = int((engine[drawn] & ~fraud[drawn]).sum())
        differences.append(false_positives(risk[drawn], fraud[drawn], int(again.sum())) - sound)
    low, high = np.percentile(differences, [2.5, 97.5])
    verdict = "fewer" if high < 0 else "more" if low > 0 else "no difference shown"
    print(f"model minus engine, 95 % interval over the same bookings: [{low:.0f}, {high:.0f}]: {verdict}")


if __name__ == "__main__":
    main()
