"""Compare a model's probabilities with failure rates, over the same held-out questions.

    python recipes/manufacturing-failure/compare.py [ROWS] [RECIPE]

ROWS is the `evaluation/rows.jsonl` of a run; without it the reference answers are compared. RECIPE is the folder of
another recipe of this form. Two rates are compared: that of the asset's type and component in training, and the asset's
own, which adds the failures that its work orders show.
"""

import json
import re
import sys
import tomllib
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 5000
WARNING = 1 / 3
BANDS = (0.0, 0.1, 0.25, 0.5, 1.01)
HORIZON = 30  # days
PROBABILITY = re.compile(r"Probability: (0\.\d\d|1\.00)")  # as the graders read it: nothing beside it

Row = dict[str, Any]
Numbers = NDArray[np.float64]


def rows_of(file: str | Path) -> list[Row]:
    return [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]


def rates(folder: Path) -> dict[str, Numbers]:
    """What a planner says without reading signs, for each held-out row. An asset's name begins with its type."""
    words = tomllib.loads((folder / "words.toml").read_text(encoding="utf-8"))
    shown, seen = words["simulation"]["history"] / HORIZON, defaultdict[str, list[int]](list)
    for row in rows_of(folder / "train.jsonl"):
        seen[asset_type(row)].append(row["failed"])
    held_out = rows_of(folder / "eval.jsonl")
    of_type = np.array([np.mean(seen[asset_type(row)]) for row in held_out])
    failures = [
        sum(row["messages"][-2]["content"].count(text) for text in words["components"][row["component"]]["failed"])
        for row in held_out
    ]
    # The rate of the type weighs as much as the months that the work orders cover.
    return {"rate of the type": of_type, "the asset's own rate": (of_type + np.array(failures) / shown) / 2}


def asset_type(row: Row) -> str:
    return str(row["asset"][:2] + row["component"])


def interval(gain: Numbers, assets: list[str]) -> tuple[float, float]:
    """95 % interval of the mean gain. Questions about one asset are alike, so assets are drawn, not questions."""
    names = list(dict.fromkeys(assets))
    asset = [names.index(name) for name in assets]
    sums, counts = np.bincount(asset, gain), np.bincount(asset)
    drawn = np.random.default_rng(0).integers(0, len(sums), (DRAWS, len(sums)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [2.5, 97.5])
    return float(low), float(high)


def main(rows: str = "", recipe: str = str(Path(__file__).parent)) -> None:
    held_out = rows_of(Path(recipe) / "eval.jsonl")
    answers = {number: row["messages"][-1]["content"] for number, row in enumerate(held_out, start=1)}
    given = {line["row"]: line["answers"]["candidate"] for line in rows_of(rows)} if rows else answers
    read = [PROBABILITY.fullmatch(given.get(number, "").strip()) for number in answers]
    model = np.array([float(match[1]) if match else 0.5 for match in read])
    failed = np.array([float(row["failed"]) for row in held_out])
    print(f"{len(model)} questions, {failed.sum():.0f} failures; without a number, as 0.5: {read.count(None)}")
    print(f"Brier score of the model: {np.mean((model - failed) ** 2):.4f}")
    for name, rate in rates(Path(recipe)).items():
        gain = (rate - failed) ** 2 - (model - failed) ** 2
        low, high = interval(gain, [row["asset"] for row in held_out])
        verdict = "beats it" if low > 0 else "does not beat it"
        print(f"Brier score of {name}: {np.mean((rate - failed) ** 2):.4f}; the model {verdict}:")
        print(f"  gain {gain.mean():+.4f}, 95 % interval over assets [{low:+.4f}, {high:+.4f}]")
    for lower, upper in pairwise(BANDS):
        inside = (model >= lower) & (model < upper)
        if inside.any():
            print(f"  said {model[inside].mean():.2f}, happened {failed[inside].mean():.2f} ({inside.sum()} questions)")
    days = [row["days"] for row, said in zip(held_out, model, strict=True) if row["failed"] and said >= WARNING]
    median = np.median(days) if days else 0
    print(f"failures warned of: {len(days)} of {failed.sum():.0f}, {median:.0f} days before (median)")


if __name__ == "__main__":
    print(__doc__) if any(one.startswith("-") for one in sys.argv[1:]) else main(*sys.argv[1:])
