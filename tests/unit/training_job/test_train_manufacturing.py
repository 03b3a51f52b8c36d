from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from local_stack.tiny_base.shipped import shipped_base
from shared.domain.evaluation import EvaluationResult
from tests.unit.recipes.manufacturing import FOLDER, rows_of


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
        n_epochs=5,
        batch_size=12,
        micro_batch_size=12,
        lora_rank=16,
        lora_alpha=32,
        total_steps=500,
    )
    data = write_data(tmp_path / "d", canonical(rows_of("train.jsonl")), canonical(rows_of("eval.jsonl")))
    run = bench(tmp_path, base=shipped_base(), data=data, recipe=recipe)
    assert run.train() == 0
    assert run.evaluate("--candidate", str(run.output / "model" / "merged"), output=tmp_path / "e") == 0
    report = EvaluationResult.model_validate_json((tmp_path / "e" / "report.json").read_bytes())
    assert report.base.mean == 0
    assert report.candidate.mean >= 0.95
