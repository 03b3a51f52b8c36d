"""Greedy answers to a batch of prompts."""

from __future__ import annotations

from typing import Any


def test_answers_do_not_depend_on_the_batch(finished: Any, tokenizer: Any) -> None:
    import torch

    from training_job.model.generation import generate
    from training_job.model.quantized import load_model

    model = load_model(finished.output / "model" / "merged", torch.float32).eval()
    prompts = [tokenizer("a bolt" * n)["input_ids"] for n in (1, 4, 9)]
    together = generate(model, tokenizer, prompts, 12)
    assert together == [generate(model, tokenizer, [prompt], 12)[0] for prompt in prompts]
