"""Greedy answers to a batch of prompts. Import only where torch may be loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@torch.inference_mode()
def generate(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    max_new_tokens: int,
) -> list[list[int]]:
    """Greedy continuations of a batch of prompts, padded on the left; padding cut from the answers."""
    padded: Any = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt").to(model.device)
    output = model.generate(  # type: ignore[operator]  # torch types a module's attributes as tensors
        **padded,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        pad_token_id=tokenizer.pad_token_id,
    )
    ends = end_ids(model, tokenizer)
    width = padded["input_ids"].shape[1]
    return [_until_end(row[width:].tolist(), ends) for row in output]


def end_ids(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Tokens that an answer ends with, unless it is as long as it may be."""
    configured = model.generation_config.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    return {end for end in [*ends, tokenizer.eos_token_id] if end is not None}


def _until_end(ids: list[int], ends: set[int]) -> list[int]:
    first = next((i for i, token in enumerate(ids) if token in ends), len(ids))
    return ids[: first + 1]
