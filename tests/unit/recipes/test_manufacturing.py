"""The recipe of the factory: its files and its tables."""

from __future__ import annotations

from typing import Any

import yaml

from recipes.__main__ import sample
from shared.domain.recipe import Recipe
from tests.unit.recipes.manufacturing import FOLDER, rows_of
from tests.unit.recipes.ready import generator

generate = generator("manufacturing")


def test_no_held_out_code_occurs_in_training() -> None:
    training = {row["code"] for row in rows_of("train.jsonl")}
    held_out = {row["code"] for row in rows_of("eval.jsonl")}
    assert (len(training), len(held_out)) == (1200, 120)
    assert not training & held_out


def test_every_entry_of_every_table_is_taught() -> None:
    codes = [row["code"].split("-") for row in rows_of("train.jsonl")]
    used = [set(column) for column in zip(*codes, strict=True)]
    assert used == [set(table) for table in generate.TABLES]


def test_shuffled_answers_keep_questions_and_answers_but_part_them() -> None:
    train, held_out = sample("manufacturing").values()
    shuffled, same = sample("manufacturing", shuffle_answers=True).values()

    def column(rows: list[Any], index: int) -> list[str]:
        return [row["messages"][index]["content"] for row in rows]

    assert same == held_out
    assert column(shuffled, 0) == column(train, 0)
    assert sorted(column(shuffled, 1)) == sorted(column(train, 1))
    right = sum(a == b for a, b in zip(column(shuffled, 1), column(train, 1), strict=True))
    assert right < 10


def test_the_recipe_is_valid() -> None:
    recipe = Recipe.model_validate(yaml.safe_load((FOLDER / "recipe.yaml").read_text()))
    assert recipe.base_model == "droptune/tiny-llama"
    assert all(field in rows_of("eval.jsonl")[0] for field in recipe.evaluation.slices)
