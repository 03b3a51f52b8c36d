"""Compare a model with the failure rate of an asset's type and component, over the same held-out questions.

    python recipes/manufacturing-failure/compare.py [ROWS] [--folder DIR]

ROWS is the `evaluation/rows.jsonl` of a run; without it the reference answers are compared.
"""

import argparse
import json
import re
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

DRAWS = 5000
WARNING = 1 / 3
BANDS = (0.0, 0.1, 0.25, 0.5, 1.01)
PROBABILITY = re.compile(r"Probability: ([01]\.\d\d)")


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def kind(row: dict[str, Any]) -> tuple[str, str]:
    """What a rate is counted by: the asset's type, which its name begins with, and the component."""
    return row["asset"][:2], row["component"]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rows", type=Path, nargs="?")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args(argv)
    train, held_out = (rows_of(arguments.folder / f"{part}.jsonl") for part in ("train", "eval"))
    answers = [row["messages"][-1]["content"] for row in held_out]
    if arguments.rows:
        given = {line["row"]: line["answers"]["candidate"] for line in rows_of(arguments.rows)}
        answers = [given.get(number, "") for number in range(1, len(held_out) + 1)]
    read = [PROBABILITY.search(answer) for answer in answers]
    model = np.array([float(match[1]) if match else 0.5 for match in read])
    failed = np.array([float(row["failed"]) for row in held_out])
    seen: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for row in train:
        seen[kind(row)].append(row["failed"])
    rate = np.array([np.mean(seen[kind(row)]) for row in held_out])
    gain = (rate - failed) ** 2 - (model - failed) ** 2
    assets = np.array([row["asset"] for row in held_out])
    # Questions about one asset are alike, so assets are drawn, not questions.
    rng, sums = (
        np.random.default_rng(0),
        {asset: (gain[assets == asset].sum(), (assets == asset).sum()) for asset in assets},
    )
    draws = [np.sum([sums[asset] for asset in rng.choice(list(sums), len(sums))], axis=0) for _ in range(DRAWS)]
    low, high = np.percentile([total / count for total, count in draws], [2.5, 97.5])
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
    main()
