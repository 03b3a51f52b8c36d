"""Compare a model with the rule engine: false positives at the engine's recall, over the same held-out bookings.

    python recipes/finance-audit/compare.py [ROWS]

ROWS is the `evaluation/rows.jsonl` of a run; without it the reference answers are compared.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 5000
RISK = re.compile(r"Risk: ([01]\.\d\d)")


def rows_of(file: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]


def false_positives(risk: NDArray[np.float64], fraud: NDArray[np.bool_], engine: NDArray[np.bool_]) -> tuple[int, int]:
    """Sound bookings that the engine flags, and that the model does at the risk where it finds as many frauds."""
    found = np.count_nonzero(engine & fraud)
    threshold = np.sort(risk[fraud])[-found] if found else np.inf
    return int((engine & ~fraud).sum()), int((risk[~fraud] >= threshold).sum())


def main(rows: str = "") -> None:
    held_out = rows_of(Path(__file__).with_name("eval.jsonl"))
    answers = {number: row["messages"][-1]["content"] for number, row in enumerate(held_out, start=1)}
    given = {line["row"]: line["answers"]["candidate"] for line in rows_of(rows)} if rows else answers
    read = [RISK.search(given.get(number, "")) for number in answers]
    risk = np.array([float(match[1]) if match else 1.0 for match in read])
    fraud, engine = (np.array([row[name] == 1 for row in held_out]) for name in ("fraud", "engine_flag"))
    by_engine, by_model = false_positives(risk, fraud, engine)
    print(f"{len(risk)} bookings, {fraud.sum()} fraudulent; answers without a risk count as 1: {read.count(None)}")
    print(f"rule engine: finds {(engine & fraud).sum()}, false positives {by_engine}")
    print(f"model, finding as many: false positives {by_model}")
    draws = np.random.default_rng(0).integers(0, len(risk), (DRAWS, len(risk)))
    drawn = [false_positives(risk[draw], fraud[draw], engine[draw]) for draw in draws]
    low, high = np.percentile(np.diff(drawn), [2.5, 97.5])
    verdict = "fewer" if high < 0 else "more" if low > 0 else "no difference shown"
    print(f"model minus engine, 95 % interval over the same bookings: [{low:.0f}, {high:.0f}]: {verdict}")


if __name__ == "__main__":
    print(__doc__) if any(one.startswith("-") for one in sys.argv[1:]) else main(*sys.argv[1:])
