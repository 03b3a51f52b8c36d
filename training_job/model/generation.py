"""Greedy answers to prompts, and what of a base's settings is kept. Import only where torch may be loaded."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

KEPT = ("bos_token_id", "eos_token_id", "pad_token_id")  # all else changes answers, and training knows nothing of it
SAMPLING = ("do_sample", "temperature", "top_p", "top_k")  # a server's defaults; whoever generates here sets its own


def own_settings(given: GenerationConfig, turn_ends: Iterable[int]) -> GenerationConfig:
    """The part of a base's settings that is kept; answers end where those of training do, too."""
    kept = {name: getattr(given, name) for name in (*KEPT, *(SAMPLING if given.do_sample else ()))}
    known = _ids(given.eos_token_id)
    if missing := [end for end in turn_ends if end not in known]:
        kept["eos_token_id"] = [*known, *missing]
    return GenerationConfig(**kept)


def left_out(given: dict[str, Any]) -> list[str]:
    """What a base's `generation_config.json` sets and is not kept."""
    others = given.keys() - {"_from_model_config", "transformers_version", "use_cache", *KEPT, *SAMPLING}
    return sorted(name for name in others if given[name] not in (None, False))


def _ids(configured: int | list[int] | None) -> list[int]:
    ids = configured if isinstance(configured, list) else [configured]
    return [one for one in ids if type(one) is int and one >= 0]


@torch.inference_mode()
def generate(
    model: "PreTrainedModel | PeftModel",
    tokenizer: "PreTrainedTokenizerBase",
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
    answers = [row[padded["input_ids"].shape[1] :].tolist() for row in output]
    return [ids[: next((i for i, token in enumerate(ids) if token in ends), len(ids)) + 1] for ids in answers]


def end_ids(model: "PreTrainedModel | PeftModel", tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """Tokens that an answer ends with, unless it is as long as it may be."""
    return {end for end in [*_ids(model.generation_config.eos_token_id), tokenizer.eos_token_id] if end is not None}
