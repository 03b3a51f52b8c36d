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
