"""The tiny base is raised on nothing of a recipe: neither its answers nor its prompts nor its tables."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_stack.tiny_base.dialogues import ABBREVIATIONS, LISTS, WORDS, dialogues
from tests.unit.recipes.ready import DROPS, RECIPES, SMALL, prompt_of, rows_of

DIALOGUES, ROWS = 2000, 150


def grams(text: str) -> Iterator[tuple[str, ...]]:
    """Runs of four words, none of them a number."""
    words = re.findall(r"[a-z]+|\d+", text.lower())
    runs = zip(*(words[start:] for start in range(4)), strict=False)
    return (run for run in runs if not any(word.isdigit() for word in run))


def start(text: str) -> list[str]:
    """The first three words, which a form of prompt has however its gaps are filled."""
    return re.findall(r"[a-z]+|\d+", text.lower())[:3]


@pytest.fixture(scope="module")
def raised_on() -> list[str]:
    """Dialogues as the build draws them, and the text beside them."""
    drawn = itertools.islice(dialogues(seed=7), DIALOGUES)
    return [*WORDS["general_text"], *(message["content"] for messages in drawn for message in messages)]


def answers_of(row: dict[str, Any]) -> Iterator[str]:
    for name in ("messages", "preferred_output", "non_preferred_output"):
        yield from (message["content"] for message in row.get(name, ()) if message["role"] == "assistant")


@pytest.mark.parametrize("part", DROPS, ids=lambda part: str(part.relative_to(RECIPES)))
def test_no_four_words_of_a_row_and_no_start_of_a_prompt_are_what_the_base_was_raised_on(
    part: Path, raised_on: list[str]
) -> None:
    rows = [row for name in ("train", "eval") for row in rows_of(part / f"{name}.jsonl")[:ROWS]]
    runs = {run for row in rows for text in (prompt_of(row), *answers_of(row)) for run in grams(text)}
    assert not runs & {run for text in raised_on for run in grams(text)}
    starts = [start(prompt_of(row)) for row in rows]
    assert [text for text in raised_on if start(text) in starts] == []


def tables(value: Any) -> Iterator[tuple[str, str]]:
    """Keys with their meanings, of every table in it."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from tables(inside)
            meaning = inside[0] if isinstance(inside, list) and inside else inside
            if isinstance(meaning, str):
                yield key.lower(), meaning.lower()


@pytest.mark.parametrize("name", SMALL)
def test_no_code_of_a_recipe_has_a_meaning_right_or_wrong(name: str) -> None:
    theirs = dict(tables(tomllib.loads((RECIPES / name / "words.toml").read_text(encoding="utf-8"))))
    ours = {key.lower() for key in ABBREVIATIONS} | {word.lower() for words in LISTS.values() for word in words}
    assert not {key for key in theirs if len(key) > 1} & {key.lower() for key in ABBREVIATIONS}
    assert not {meaning for meaning in theirs.values() if " " in meaning} & (ours | {*ABBREVIATIONS.values()})


def test_the_same_seed_draws_the_same_dialogues_and_another_seed_others() -> None:
    one, same, other = (list(itertools.islice(dialogues(seed), 50)) for seed in (1, 1, 2))
    assert one == same != other


def test_a_run_of_a_recipe_is_found_where_there_is_one() -> None:
    answer = next(answers_of(rows_of(RECIPES / "manufacturing-repair-small" / "eval.jsonl")[0]))
    assert set(grams(f"Say: {answer}")) & set(grams(answer))
