"""Tokens of a row that are estimated without a tokenizer, beside those that one counts."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from shared.domain.catalog import CATALOG, find_entry
from shared.domain.planning.plan import estimate_tokens
from shared.domain.prompts import prompt_of, with_output
from shared.rendering.bundle import Bundle, read_bundle_folder
from shared.rendering.rows import render_prompt, render_row
from shared.validation.intake import ExpectedRows, open_rows
from shared.validation.rows import extent_of, read_row
from shared.validation.sink import RowCounter, spooled_sink
from tests.paths import ROOT

TINY = find_entry("droptune/tiny-llama")
FOLDERS = (ROOT / "recipes", ROOT.parent / "shared/data/public", ROOT.parent / "shared/data/public2")
NO_DATASETS = ("lf_mllm_demo.json", "wrong_answers.jsonl")
FILES = [path for folder in FOLDERS for path in sorted(folder.rglob("*.json*")) if path.name not in NO_DATASETS]
ROWS = 100
UNDER, OVER, OVER_OF_PAIRS = 1.3, 2.1, 3.5  # the estimate of a pair counts both answers


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    folder = ROOT / "local_stack/tiny_base/weights"
    return read_bundle_folder(folder)


def tokens_of(bundle: Bundle, document: dict[str, Any]) -> int:
    """Of a preference pair the longer of its two readings."""
    if "input" in document:
        texts = [
            render_row(bundle, with_output(document, name))[0].text
            for name in ("preferred_output", "non_preferred_output")
        ]
    elif document["messages"][-1]["role"] == "assistant":
        texts = [render_row(bundle, document)[0].text]
    else:
        texts = [render_prompt(bundle, prompt_of(document)).text]
    return max(len(bundle.tokenizer.encode(text, add_special_tokens=False)) for text in texts)


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("path", [pytest.param(path, id=f"{path.parent.name}-{path.stem}") for path in FILES])
def test_the_estimate_of_a_row_is_not_far_below_what_the_tokenizer_counts(bundle: Bundle, path: Path) -> None:
    intake = open_rows([path.read_bytes()], ExpectedRows())
    assert intake.form is not None
    lines = (line for _, _, line in intake.lines if isinstance(line, bytes) and line.strip())
    rows = [row for line in islice(lines, ROWS) if (row := read_row(line, intake.form)[0]) is not None]
    counted = [tokens_of(bundle, json.loads(row.canonical)) for row in rows]
    with spooled_sink() as sink:
        counter = RowCounter(sink)
        for row in rows:
            counter.measure(extent_of(row))
            counter.write("train", row.canonical)
        found = counter.statistics({})
    estimated = estimate_tokens(TINY, found.characters_mean, found.extra_bytes_mean, found.messages_mean)
    over = OVER_OF_PAIRS if intake.form.kind == "preference" else OVER
    assert 1 / UNDER < estimated / (sum(counted) / len(counted)) < over


def test_a_large_vocabulary_needs_fewer_tokens_and_other_scripts_more() -> None:
    for entry in CATALOG.values():
        if entry.architecture is not None and entry is not TINY:
            english, chinese = (estimate_tokens(entry, 1000, extra, 2) for extra in (0, 2000))
            assert english == pytest.approx(1000 / 3.6 + 10)
            assert 800 < chinese < 1000
            assert english < estimate_tokens(TINY, 1000, 0, 2)
