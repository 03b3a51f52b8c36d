"""Preference pairs as the trainer reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shared.rendering.check import LengthPolicy
from tests.unit.training_job.rows import pair


def test_pairs_have_the_tokens_trl_would_make_up_to_the_end_of_the_answer(
    tmp_path: Path, tokenizer: Any, bundle: Any, random_base: Path, pairs: list[Any], write_data: Any
) -> None:
    from datasets import Dataset
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    from training_job.data.chat_rows import IGNORED, encode_pairs

    talk = {
        **pairs[0],
        "input": {
            "messages": [
                {"role": "system", "content": "You know parts."},
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "Which part?"},
                {"role": "user", "content": "Part 7"},
            ]
        },
    }
    data = write_data(tmp_path / "d", [*pairs[:3], talk], pairs[:1])
    read = encode_pairs(data / "train.jsonl", bundle, LengthPolicy(256, "reject")).rows
    rows = [
        {"prompt": one["input"]["messages"], "chosen": one["preferred_output"], "rejected": one["non_preferred_output"]}
        for one in (*pairs[:3], talk)
    ]
    settings = DPOConfig(str(tmp_path), use_cpu=True, activation_checkpointing=False, max_length=None)
    untrained = DPOTrainer.__new__(DPOTrainer)
    made = DPOTrainer._prepare_dataset(untrained, Dataset.from_list(rows), tokenizer, settings, "train")
    newline = tokenizer("\n")["input_ids"]
    for ours, theirs in zip(read, made, strict=True):
        for output, name in ((ours.chosen, "chosen_ids"), (ours.rejected, "rejected_ids")):
            assert output.input_ids == theirs["prompt_ids"] + theirs[name]
            learned = [label for label in output.labels if label != IGNORED]
            assert learned + newline == theirs[name]  # what a template writes after an answer is never generated
            assert learned[-1] == tokenizer.eos_token_id


def test_a_pair_goes_with_either_of_its_answers(tmp_path: Path, bundle: Any, write_data: Any, pairs: list[Any]) -> None:
    from training_job.data.chat_rows import encode_pairs

    long = pair(7, rejected="ask a dealer " * 60)
    data = write_data(tmp_path / "d", [pairs[0], long, pairs[1]], pairs[:1])
    dropped = encode_pairs(data / "train.jsonl", bundle, LengthPolicy(100, "drop"))
    assert (len(dropped.rows), dropped.dropped, dropped.truncated) == (2, [2], [])
    cut = encode_pairs(data / "train.jsonl", bundle, LengthPolicy(100, "truncate"))
    assert (len(cut.rows), cut.dropped, cut.truncated) == (3, [], [2])
    assert len(cut.rows[1].rejected.input_ids) == 100
