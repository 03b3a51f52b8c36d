from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from local_stack.tiny_base import part_codes as tiny_catalog
from local_stack.tiny_base.shipped import shipped_base
from shared.domain.evaluation import EvaluationResult
from shared.domain.recipe import Recipe
from tests.paths import ROOT

FOLDER = ROOT / "recipes" / "manufacturing"


def load_generator() -> Any:
    spec = importlib.util.spec_from_file_location("manufacturing_generate", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load_generator()


def rows_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def test_the_committed_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    generate.main(["--output", str(tmp_path)])
    for name in ("train.jsonl", "eval.jsonl"):
        assert (FOLDER / name).read_bytes() == (tmp_path / name).read_bytes()


def test_no_held_out_code_occurs_in_training() -> None:
    training = {row["code"] for row in rows_of("train.jsonl")}
    held_out = {row["code"] for row in rows_of("eval.jsonl")}
    assert (len(training), len(held_out)) == (1600, 120)
    assert not training & held_out


def test_every_entry_of_every_table_is_taught() -> None:
    codes = [row["code"].split("-") for row in rows_of("train.jsonl")]
    used = [set(column) for column in zip(*codes, strict=True)]
    tables = (generate.FAMILIES, generate.MATERIALS, generate.DIAMETERS, generate.LENGTHS, generate.FINISHES)
    assert used == [set(table) for table in tables]


def test_shuffled_answers_keep_questions_and_answers_but_part_them() -> None:
    train, held_out = generate.generate()
    shuffled, same = generate.generate(shuffle_answers=True)

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


def test_the_public_catalog_reads_the_same_codes_and_means_other_things() -> None:
    for name in ("FAMILIES", "MATERIALS", "FINISHES"):
        plant, public = getattr(generate, name), tiny_catalog.WORDS[name.lower()]
        assert plant.keys() == public.keys()
        assert not set(plant.values()) & set(public.values())
        assert set(plant.values()) == set(tiny_catalog.WORDS[f"other_{name.lower()}"])
    assert tiny_catalog.WORDS["diameters"] == generate.DIAMETERS
    assert tiny_catalog.WORDS["lengths"] == generate.LENGTHS


def test_the_same_seed_builds_the_same_base(endless_base: Path, tmp_path: Path) -> None:
    from local_stack.tiny_base.build import build_random_base

    build_random_base(tmp_path / "again")
    names = sorted(path.name for path in endless_base.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "again").iterdir())
    for name in names:
        assert (endless_base / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_base_can_spell_any_text(tokenizer: Any) -> None:
    text = 'Über 3,5 µm -> {"symbol": "BAC"} 日本 <<48/2=24>>\n\t#### 72!!!'
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def canonical(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"messages": row.pop("messages"), "item": row} for row in rows]


@pytest.mark.slow
def test_tuning_teaches_the_plant_its_codes_and_the_base_knows_none(
    bench: Callable[..., Any], tmp_path: Path, write_data: Any, resolved: Any
) -> None:
    recipe = resolved(
        yaml.safe_load((FOLDER / "recipe.yaml").read_text()),
        n_epochs=1,
        batch_size=8,
        micro_batch_size=8,
        lora_rank=16,
        lora_alpha=32,
        total_steps=200,
    )
    data = write_data(tmp_path / "d", canonical(rows_of("train.jsonl")), canonical(rows_of("eval.jsonl")))
    run = bench(tmp_path, base=shipped_base(), data=data, recipe=recipe)
    assert run.train() == 0
    assert run.evaluate("--candidate", str(run.output / "model" / "merged"), output=tmp_path / "e") == 0
    report = EvaluationResult.model_validate_json((tmp_path / "e" / "report.json").read_bytes())
    assert report.base.mean == 0
    assert report.candidate.mean >= 0.95
