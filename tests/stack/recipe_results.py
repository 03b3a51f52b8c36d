"""What the ready recipes reach from several builds of the tiny base: from files of runs to `docs/results`.

    mkdir results
    RECIPE_RESULTS=results python -m pytest tests/stack/test_ready_recipes.py
    python -m tests.stack.recipe_results results docs/results/2026-11-30-seeds.json

The second command writes the file and prints the tables of `docs/results/README.md`, which a test compares with it.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from docs.generator.recipes import VERDICTS

WITHOUT_TRAINING = ("most frequent training answer", "answer of the nearest training row")
WAYS = [(7, "own"), (8, "own"), (9, "own"), (10, "own"), (11, "own"), (7, "old")]

Run = dict[str, Any]


def tables(body: dict[str, Any]) -> list[str]:
    """The lines of both: a line a recipe and drop with mean and spread, then all scores."""
    groups = [[*runs] for _, runs in groupby(body["runs"], key=lambda run: run["recipe"])]
    return [
        "| recipe | deployed | base | tuned: mean, standard deviation | lowest, highest | least gain | seconds |",
        "|---|---|---|---|---|---|---|",
        *(line for runs in groups for line in _spread(runs)),
        "",
        "| recipe | seed 7 | seed 8 | seed 9 | seed 10 | seed 11 | seed 7, old kernels |",
        "|---|---|---|---|---|---|---|",
        *(line for runs in groups for line in _scores(runs)),
        "",
        "| recipe | most frequent answer | nearest training row | lookup, of some rows | base | tuned, mean |",
        "|---|---|---|---|---|---|",
        *_baselines(groups),
    ]


def _spread(runs: list[Run]) -> Iterator[str]:
    """Of the runs of a recipe, a line a drop. Mean and deviation are of the seeds, the rest of all runs."""
    for place, name in _drops(runs):
        found = [run["drops"][place] for run in runs if len(run["drops"]) > place]
        own = [run["drops"][place]["tuned"][0] for run in runs if run["kernels"] == "own"]
        tuned, base = [drop["tuned"][0] for drop in found], [drop["base"][0] for drop in found]
        least = min(low for drop in found for _, low, _ in drop["gains"].values())
        seconds = [run["seconds"] for run in runs]
        deviation = f"{stdev(own):.3f}" if len(own) > 1 else "of one"
        yield (
            f"| {name} | {sum(drop['status'] == 'deployed' for drop in found)} of {len(runs)}"
            f" | {_range(base)} | {mean(own):.3f}, {deviation} | {min(tuned):.3f}, {max(tuned):.3f}"
            f" | {least:+.3f} | {min(seconds)} to {max(seconds)} |"
        )


def _scores(runs: list[Run]) -> Iterator[str]:
    by_way = {(run["seed"], run["kernels"]): run for run in runs}
    for place, name in _drops(runs):
        cells = [_cell(by_way[way]["drops"][place]) if way in by_way else "not run" for way in WAYS]
        yield f"| {name} | {' | '.join(cells)} |"


def _baselines(groups: list[list[Run]]) -> Iterator[str]:
    """A line a ready recipe: what it scores without training, and tuned where it was."""
    tuned = {runs[0]["recipe"]: [run["drops"][-1] for run in runs] for runs in groups}
    for name, found in json.loads(VERDICTS.read_text(encoding="utf-8")).items():
        scores = [found["models"][model]["score"] for model in WITHOUT_TRAINING] + [found["lookup"]["score"]]
        cells = [f"{score:.3f}" for score in scores]
        if last := tuned.get(name):
            cells += [_range([drop["base"][0] for drop in last]), f"{mean(drop['tuned'][0] for drop in last):.3f}"]
        else:
            cells += ["", "for a real base"]
        yield f"| [{name}](../../recipes/{name}) | {' | '.join(cells)} |"


def _drops(runs: list[Run]) -> Iterator[tuple[int, str]]:
    methods = [drop["method"] for drop in runs[0]["drops"]]
    for place, method in enumerate(methods):
        several = f" {place + 1}: {method}" if len(methods) > 1 else ""
        yield place, f"[{runs[0]['recipe']}](../../recipes/{runs[0]['recipe']}){several}"


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.3f}", f"{max(values):.3f}"
    return low if low == high else f"{low} to {high}"


def _cell(drop: dict[str, Any]) -> str:
    value, low, high = drop["tuned"]
    ended = "" if drop["status"] == "deployed" else f", {drop['status']}"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]{ended}"


def collected(folder: Path) -> dict[str, Any]:
    """The results of a folder with where they were made."""
    runs = [json.loads(file.read_text()) for file in folder.glob("*.json")]
    loads = [run["load"] for run in runs]
    made = {
        "at": datetime.now(UTC).date().isoformat(),
        "commit": ", ".join(sorted({run["commit"] for run in runs})),
        "command": "python -m pytest tests/stack/test_ready_recipes.py",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, no GPU",
        "load": f"{min(loads)} to {max(loads)}",
        "python": platform.python_version(),
    }
    runs.sort(key=lambda run: (run["recipe"], run["kernels"] != "own", run["seed"]))
    return {"made": made, "runs": runs}


def main(folder: str, output: str) -> None:
    body = collected(Path(folder))
    lines = ",\n".join(f"  {json.dumps(run)}" for run in body["runs"])
    Path(output).write_text(f'{{\n"made": {json.dumps(body["made"], indent=1)},\n"runs": [\n{lines}\n]\n}}\n')
    print("\n".join(tables(body)))


if __name__ == "__main__":
    main(*sys.argv[1:])
