"""Compare a model with the failure rate of an asset's type and component, over the same held-out questions.

    python recipes/manufacturing-failure/compare.py [ROWS]

ROWS is the `evaluation/rows.jsonl` of a run; without it the reference answers are compared.
"""

import json
import re
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

DRAWS = 5000
WARNING = 1 / 3
BANDS = (0.0, 0.1, 0.25, 0.5, 1.01)
PROBABILITY = re.compile(r"Probability: ([01]\.\d\d)")


def rows_of(file: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]


def main(rows: str = "") -> None:
    train, held_out = (rows_of(Path(__file__).with_name(f"{part}.jsonl")) for part in ("train", "eval"))
    answers = {number: row["messages"][-1]["content"] for number, row in enumerate(held_out, start=1)}
    given = {line["row"]: line["answers"]["candidate"] for line in rows_of(rows)} if rows else answers
    read = [PROBABILITY.search(given.get(number, "")) for number in answers]
    model = np.array([float(match[1]) if match else 0.5 for match in read])
    failed = np.array([float(row["failed"]) for row in held_out])
    seen: defaultdict[str, list[int]] = defaultdict(list)  # by type, which the asset's name begins with, and component
    for row in train:
        seen[row["asset"][:2] + row["component"]].append(row["failed"])
    rate = np.array([np.mean(seen[row["asset"][:2] + row["component"]]) for row in held_out])
    gain = (rate - failed) ** 2 - (model - failed) ** 2
    # Questions about one asset are alike, so assets are drawn, not questions.
    names = list(dict.fromkeys(row["asset"] for row in held_out))
    asset = [names.index(row["asset"]) for row in held_out]
    sums, counts = np.bincount(asset, gain), np.bincount(asset)
    drawn = np.random.default_rng(0).integers(0, len(sums), (DRAWS, len(sums)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [2.5, 97.5])
    print(f"{len(model)} questions, {failed.sum():.0f} failures; without a number, as 0.5: {read.count(None)}")
    print(f"Brier score: model {np.mean((model - failed) ** 2):.4f}, rate {np.mean((rate - failed) ** 2):.4f}")
    verdict = "beats the rate" if low > 0 else "does not beat the rate"
    print(f"gain {gain.mean():+.4f}, 95 % interval over assets [{low:+.4f}, {high:+.4f}]: the model {verdict}")
    for lower, upper in pairwise(BANDS):
        inside = (model >= lower) & (model < upper)
        if inside.any():
            print(f"  said {model[inside].mean():.2f}, happened {failed[inside].mean():.2f} ({inside.sum()} questions)")
    days = [row["days"] for row, said in zip(held_out, model, strict=True) if row["failed"] and said >= WARNING]
    median = np.median(days) if days else 0
    print(f"failures warned of: {len(days)} of {failed.sum():.0f}, {median:.0f} days before (median)")


if __name__ == "__main__":
    main(*sys.argv[1:])
