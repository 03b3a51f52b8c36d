"""The tiny base model that stands for an open-weight one on a laptop and in tests.

    python -m local_stack.tiny_base.build --output DIR [--seed 7] [--steps 480]

A Llama of half a million parameters with its own byte-level tokenizer and chat template, pre-trained for three
quarters of a minute on four small domains, one for each ready recipe. `weights/` holds what this program built;
the folder appears only when complete.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from local_stack.tiny_base import bank, clinic, part_codes, plant
from local_stack.tiny_base.shipped import write_manifest

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

BASE_MODEL_ID = "droptune/tiny-llama"
BOS, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
CONTEXT_TOKENS = 4096
PRETRAIN_STEPS = 480
# Parts weigh most: their tables are the largest, and `make demo` tunes on them.
DOMAINS = {part_codes: 40, clinic: 16, bank: 30, plant: 14}
BATCH_ROWS, BATCH_TOKENS = 8, 128
TEMPLATE_FILE = Path(__file__).with_name("chat_template.jinja")


def build_random_base(folder: Path, seed: int = 7) -> None:
    """The same model with random weights, for tests that only need shapes; about a second."""
    build_base(folder, seed, steps=0)


def build_base(folder: Path, seed: int = 7, steps: int = PRETRAIN_STEPS) -> None:
    """Build the pre-trained base into `folder`, all or nothing; about 45 s on one core."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    if steps:
        pretrain(model, tokenizer, seed, steps)
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    model.bfloat16().save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE over the domains; any text can be encoded."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    # Digits stay together: with one token a digit, 304 and 316 are often confused.
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1472,
        special_tokens=[PAD, BOS, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_tokenizer_texts(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END,
        pad_token=PAD,
        chat_template=TEMPLATE_FILE.read_text(encoding="utf-8"),
        model_max_length=CONTEXT_TOKENS,
        clean_up_tokenization_spaces=False,
    )


def _tokenizer_texts() -> Iterator[str]:
    yield from part_codes.WORDS["general_text"] * 40
    for messages in itertools.islice(dialogues(seed=0), 4000):
        yield from (message["content"] for message in messages)


def dialogues(seed: int) -> Iterator[list[dict[str, str]]]:
    """Endless dialogues in chat form, of all domains."""
    rng = random.Random(seed)  # noqa: S311
    while True:
        (domain,) = rng.choices(list(DOMAINS), list(DOMAINS.values()))
        question, answer = domain.dialogue(rng)
        yield [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A float32 Llama with random weights: 128 wide, two layers, tied embeddings."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=-(-len(tokenizer) // 64) * 64,  # multiple of 64: what 4-bit kernels expect
        hidden_size=128,
        intermediate_size=320,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        initializer_range=0.06,  # 0.02 needs half as many steps again
        bos_token_id=cast(int, tokenizer.convert_tokens_to_ids(BOS)),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config.do_sample = False
    return model


def pretrain(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int, steps: int) -> None:
    """Teach the public domains: Muon on the matrices, AdamW on the rest, packed rows of 128 tokens."""
    import torch

    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=0.02, weight_decay=0.0),
        torch.optim.AdamW(rest, lr=5e-3, weight_decay=0.0),
    ]
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    batches = packed_batches(tokenizer, seed)
    model.train()
    started = reported = time.monotonic()
    for step in range(1, steps + 1):
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * _schedule(step, steps)
        batch = next(batches)
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        now = time.monotonic()
        if now - reported >= 1 or step == steps:
            reported = now
            eta = (now - started) / step * (steps - step)
            print(f"step {step}/{steps} loss {loss.item():.3f} eta {eta:.0f} s", flush=True)


def _schedule(step: int, steps: int) -> float:
    """Warm-up over 30 steps, then square-root decay to zero."""
    return float(min(step / min(30, steps), (1 - (step - 1) / steps) ** 0.5))


def packed_batches(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[Tensor]:
    """Endless token batches `[BATCH_ROWS, BATCH_TOKENS]` of dialogues laid end to end."""
    import torch

    size = BATCH_ROWS * BATCH_TOKENS
    pending: list[int] = []
    for messages in dialogues(seed):
        pending += cast(list[int], tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False))
        if len(pending) >= size:
            yield torch.tensor(pending[:size]).view(BATCH_ROWS, BATCH_TOKENS)
            pending = pending[size:]


def main(argv: list[str] | None = None) -> int:
    parser: Any = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder to create")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--steps", type=int, default=PRETRAIN_STEPS, help="0 leaves the weights random")
    arguments = parser.parse_args(argv)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    build_base(arguments.output, arguments.seed, arguments.steps)
    write_manifest(arguments.output)
    print(f"base model in {arguments.output}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
