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


ODD: dict[str, Any] = {
    "stop_strings": ["."],
    "num_return_sequences": 2,
    "return_dict_in_generate": True,
    "num_beams": 4,
    "min_new_tokens": 20,
    "max_length": 3,
    "forced_eos_token_id": 5,
    "repetition_penalty": 1.9,
    "suppress_tokens": [2],
    "no_repeat_ngram_size": 1,
    "bad_words_ids": [[9]],
    "min_p": 0.9,
    "max_time": 0.001,
}


def test_no_setting_of_a_base_changes_answers_or_is_served_unless_it_is_one_of_those_kept(
    finished: Any, tokenizer: Any, tmp_path: Path
) -> None:
    import torch

    from training_job.model.generation import generate
    from training_job.model.quantized import load_model, save_merged

    merged, prompts = finished.output / "model" / "merged", [tokenizer("a bolt")["input_ids"]]
    expected = generate(load_model(merged, torch.float32).eval(), tokenizer, prompts, 12)
    shutil.copytree(merged, tmp_path / "odd")
    file = tmp_path / "odd" / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | ODD))
    model = load_model(tmp_path / "odd", torch.float32).eval()
    assert generate(model, tokenizer, prompts, 12) == expected
    save_merged(model, tokenizer, tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert set(saved) == {"bos_token_id", "eos_token_id", "pad_token_id", "transformers_version"}
    assert json.loads((finished.output / "model/manifest.json").read_text())["generation_settings_left_out"] == []


def test_every_field_of_the_librarys_settings_is_kept_on_purpose_or_left_out_and_named() -> None:
    """Also one that a later version of the library adds."""
    from transformers import GenerationConfig

    from training_job.model.generation import left_out, own_settings

    fields = sorted(set(vars(GenerationConfig())) - {"transformers_version", "_from_model_config"})
    assert len(fields) > 50
    base = GenerationConfig(do_sample=True, eos_token_id=2)
    changed = set()
    for name in fields:
        given = GenerationConfig.from_dict(base.to_dict())
        setattr(given, name, 1)
        if own_settings(given, ()) != base:
            changed.add(name)
    ids, sampling = {"bos_token_id", "eos_token_id", "pad_token_id"}, {"do_sample", "temperature", "top_k", "top_p"}
    assert changed == ids | sampling
    named = left_out(dict.fromkeys([*fields, "of_a_later_version"], 1))
    assert set(named) == {*fields, "of_a_later_version"} - ids - sampling - {"use_cache"}
    without = GenerationConfig(eos_token_id=2, temperature=0.6, top_p=0.9, top_k=3)  # which could not be saved
    assert own_settings(without, (5,)) == GenerationConfig(eos_token_id=[2, 5])
    assert left_out(
        {"num_beams": None, "renormalize_logits": False, "num_return_sequences": 1, "suppress_tokens": []}
    ) == ["num_return_sequences", "suppress_tokens"]


@pytest.mark.parametrize(
    ("configured", "expected"), [(0, [0, 2]), ([0, 1], [0, 1, 2]), (2, 2), ([5, 2], [5, 2]), (None, [2]), (-1, [2])]
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
