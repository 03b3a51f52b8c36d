"""Tables of docs/results are those of the JSON file beside them, and what the page claims of kernels is so."""

from __future__ import annotations

import json

from tests.paths import ROOT
from tests.stack.recipe_results import tables

RESULTS = ROOT / "docs" / "results"
PAGE = (RESULTS / "README.md").read_text()
[FILE] = RESULTS.glob("*-seeds.json")
BODY = json.loads(FILE.read_text())


def test_the_page_has_the_tables_of_the_file_and_says_when_and_where_they_were_made() -> None:
    assert "\n".join(tables(BODY)) in PAGE
    assert [part for part in (FILE.name, *BODY["made"].values()) if part not in PAGE.replace("\n", " ")] == []


def test_other_kernels_gave_other_losses() -> None:
    losses = {
        (run["recipe"], run["seed"], run["kernels"]): [drop["loss"] for drop in run["drops"]] for run in BODY["runs"]
    }
    both = [name for name, _, kernels in losses if kernels == "old"]
    assert both
    assert [name for name in both if losses[name, 7, "old"] == losses[name, 7, "own"]] == []


def test_the_page_has_the_figures_of_the_run_with_a_real_base_model() -> None:
    [file] = RESULTS.glob("*-real-base.json")
    run = json.loads(file.read_text())["evaluation"]
    graders = {one["name"]: one for one in run["graders"]}
    [locked] = [one for one in run["floors"] if (one["grader"], one["value"]) == ("lock_out_first", "yes")]
    [lookup] = [one["score"]["mean"] for one in run["baselines"] if one["name"] == "lookup"]
    right, [ability, _] = run["candidate"], run["general"]
    machine = [graders["machine"][name]["mean"] for name in ("base", "candidate")]
    assert f"of {right['rows']} held-out rows" in PAGE
    assert f"| the right machine | {machine[0]:.3f} | {machine[1]:.3f} | |" in PAGE
    assert f"(of {locked['rows']} rows) | 0.000 | {locked['mean']:.3f} | |" in PAGE
    interval = f"{right['mean']:.3f} [{right['low']:.3f}, {right['high']:.3f}]"
    assert f"| exactly the right steps | {run['base']['mean']:.3f} | {interval} | {lookup:.3f} |" in PAGE
    assert f"{ability['base']['mean']:.3f} to {ability['candidate']['mean']:.3f}" in PAGE.replace("\n", " ")
