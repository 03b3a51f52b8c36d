"""Greedy answers to a batch of prompts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest


def test_answers_do_not_depend_on_the_batch(finished: Any, tokenizer: Any) -> None:
    import torch

    from training_job.model.generation import generate
    from training_job.model.quantized import load_model

    model = load_model(finished.output / "model" / "merged", torch.float32).eval()
    prompts = [tokenizer("a bolt" * n)["input_ids"] for n in (1, 4, 9)]
    together = generate(model, tokenizer, prompts, 12)
    assert together == [generate(model, tokenizer, [prompt], 12)[0] for prompt in prompts]


@pytest.mark.parametrize(
    ("configured", "expected"), [(0, [0, 2]), ([0, 1], [0, 1, 2]), (2, 2), ([5, 2], [5, 2]), (None, [2])]
)
def test_generation_stops_at_the_token_that_ends_a_turn_and_is_saved_so(
    endless_base: Path, tmp_path: Path, configured: Any, expected: Any
) -> None:
    import torch

    from training_job.model.quantized import load_model, load_tokenizer, save_merged

    folder = tmp_path / "base"
    shutil.copytree(endless_base, folder)
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(settings | {"eos_token_id": configured}))
    model = load_model(folder, torch.float32)
    assert model.generation_config is not None
    assert model.generation_config.eos_token_id == expected
    save_merged(model, load_tokenizer(folder), tmp_path / "merged")
    assert json.loads((tmp_path / "merged" / "generation_config.json").read_text())["eos_token_id"] == expected


@pytest.mark.ci
def test_generation_stops_at_the_token_that_ends_a_call(endless_base: Path, tmp_path: Path) -> None:
    import torch

    from training_job.model.quantized import load_model

    folder = tmp_path / "base"
    shutil.copytree(endless_base, folder)
    template = folder / "chat_template.jinja"
    text = template.read_text()
    changed = text.replace(
        "{{ '<|im_end|>' }}\n{%- endgen", "{{ '<|im_start|>' if m['tool_calls'] else '<|im_end|>' }}{%- endgen"
    )
    assert changed != text
    template.write_text(changed)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 0}))
    model = load_model(folder, torch.float32)
    assert model.generation_config is not None
    assert model.generation_config.eos_token_id == [0, 2, 1]
