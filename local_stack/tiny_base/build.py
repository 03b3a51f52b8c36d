"""The tiny base model that stands for an open-weight one on a laptop and in tests.

    python -m local_stack.tiny_base.build --output DIR [--seed 7] [--steps 1200]

A Llama of half a million parameters with its own byte-level tokenizer and chat template, pre-trained for two
minutes on `dialogues.py`, which no recipe has a word of. `weights/` holds what this program built; the folder appears
only when complete.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from local_stack.tiny_base.dialogues import LISTS, WORDS, dialogues
from local_stack.tiny_base.shipped import write_manifest

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

BASE_MODEL_ID = "droptune/tiny-llama"
BOS, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
CONTEXT_TOKENS = 4096
PRETRAIN_STEPS = 1200
BATCH_ROWS, BATCH_TOKENS = 8, 128
IGNORED = -100
TEMPLATE_FILE = Path(__file__).with_name("chat_template.jinja")


def build_random_base(folder: Path, seed: int = 7) -> None:
    """The same model with random weights, for tests that only need shapes; about a second."""
    build_base(folder, seed, steps=0)


def build_base(folder: Path, seed: int = 7, steps: int = PRETRAIN_STEPS) -> None:
    """Build the pre-trained base into `folder`, all or nothing; about 100 s on one core."""
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
    """Byte-level BPE over the dialogues and everyday words; any text can be encoded."""
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
    yield from WORDS["general_text"] * 40
    for words in LISTS.values():  # so that everyday words are one token each
        yield from (" " + " ".join(words),) * 60
        yield from (" ".join(words).title(),) * 6
    yield from (" ".join(f"{n}-{n}" for n in range(100)),) * 60  # and short numbers
    for messages in itertools.islice(dialogues(seed=0), 1000):
        yield from (message["content"] for message in messages)


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


def start_copying(model: LlamaForCausalLM) -> None:
    """Let the model copy before it has learned anything: two layers of heads as an induction head has them.

    Any open-weight model has such heads from its training (Olsson et al., In-context Learning and Induction Heads,
    2022); a minute of training does not make them. Head 0 of the first layer writes each token's predecessor beside
    it; heads 0 and 1 of the second find where the current token stood before, and copy what followed it there.
    """
    import torch

    with torch.no_grad():
        first, second = (each.self_attn for each in model.model.layers)
        embedding = cast("Tensor", model.get_input_embeddings().weight)
        size, half, last = first.head_dim, first.head_dim // 2, model.config.hidden_size - 1
        # The same for all tokens: what a head reads that looks at places alone.
        embedding[:, last] = 0.7
        for layer in model.model.layers:
            layer.mlp.down_proj.weight.zero_()
            layer.self_attn.o_proj.weight.zero_()
        for head, rows in ((first, slice(size)), (second, slice(2 * size))):
            for projection in (head.q_proj, head.k_proj, head.v_proj):
                projection.weight[rows] = 0
        place = torch.arange(size)
        # One position back is where the fastest rotations (base 10,000) of query and key meet.
        angles = 10_000 ** (-place[:4] / half)
        first.q_proj.weight[:4, last] = 0.9
        first.k_proj.weight[:4, last] = 0.9 * angles.cos()
        first.k_proj.weight[half : half + 4, last] = 0.9 * angles.sin()
        first.v_proj.weight[place, place] = 1
        first.o_proj.weight[size + place, place] = 0.3
        slow = torch.cat([place[half - 10 : half], place[size - 10 :]])  # they tell tokens apart at any distance
        for head in (0, 1):
            start, copied = head * size, (2 + head) * size + place[: size - head]
            second.q_proj.weight[start + slow, place[:20]] = 3
            second.k_proj.weight[start + slow, size + place[:20]] = 3
            second.v_proj.weight[start + place[: size - head], copied] = 1
            second.o_proj.weight[copied, start + place[: size - head]] = 2


def pretrain(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int, steps: int) -> None:
    """Teach the answers of the dialogues: Muon on the matrices, AdamW on the rest."""
    import torch

    start_copying(model)
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=0.004, weight_decay=0.0),
        torch.optim.AdamW(rest, lr=3e-3, weight_decay=0.0),
    ]
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    rows = batches(tokenizer, seed)
    model.train()
    started = reported = time.monotonic()
    for step in range(1, steps + 1):
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * _schedule(step, steps)
        loss = model(**next(rows)).loss
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


def batches(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[dict[str, Tensor]]:
    """Endless `input_ids` and `labels`, `[BATCH_ROWS, BATCH_TOKENS]`: each row whole dialogues laid end to end."""
    import torch

    encoded = (encode(tokenizer, messages) for messages in dialogues(seed))
    short = (pair for pair in encoded if len(pair[0]) <= BATCH_TOKENS)
    ids, labels = next(short)
    while True:
        batch: list[tuple[list[int], list[int]]] = []
        while len(batch) < BATCH_ROWS:
            more, more_labels = next(short)
            if len(ids) + len(more) > BATCH_TOKENS:
                missing = BATCH_TOKENS - len(ids)
                batch.append((ids + [0] * missing, labels + [IGNORED] * missing))
                ids, labels = [], []
            ids, labels = ids + more, labels + more_labels
        rows, targets = zip(*batch, strict=True)
        yield {"input_ids": torch.tensor(rows), "labels": torch.tensor(targets)}


def encode(tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, str]]) -> tuple[list[int], list[int]]:
    """Token ids of a dialogue, and its labels: the answer's tokens, IGNORED before them."""
    ids = cast(list[int], tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False))
    asked = tokenizer.apply_chat_template([messages[0]], add_generation_prompt=True, tokenize=True, return_dict=False)
    return ids, [IGNORED] * len(asked) + ids[len(asked) :]


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
