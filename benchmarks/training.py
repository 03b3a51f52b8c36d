"""The project's trainer beside trl's at its best: same 4-bit model, adapters, rows and objective, on the CPU.

    python -m benchmarks.training KIND BASE ROWS HELD_OUT OUTPUT SEED

trains one pass over ROWS and prints the figures as JSON. Every kind sees each row once, so the same tokens; a step is
of 8 rows, or of a pack with about as many tokens. All learn the answers only, in float32 with float32 adapters.
"""

import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from benchmarks.measure import REPOSITORY, Figure, peak_memory_mb, run_child
from local_stack.tiny_base.shipped import shipped_base
from shared.domain.recipe import Recipe, ResolvedRecipe
from shared.rendering.check import LengthPolicy
from training_job import patches
from training_job.job.runtime import work_offline

RECIPE = REPOSITORY / "recipes" / "manufacturing"
ROWS, MIXED_ROWS, STEP_ROWS = 640, 200, 8
MAX_TOKENS = 4096  # the base takes no more, and no row has as many
MEASURES = {
    "speed": ("useful tokens", "tokens/CPU s", "higher"),
    "memory": ("peak memory", "MB", "lower"),
    "loss": ("held-out loss", "nats", "lower"),
}
SEEDS = (42, 43, 44, 45, 46)  # of the adapters and of the order of rows
OURS, PACKED = "droptune", "trl, packed"
# What makes trl fastest on a CPU: float32 with adapters cast to it, no checkpointing; then its ways to pad less.
TRL: dict[str, dict[str, Any]] = {
    "trl, padded": {},
    "trl, grouped by length": {"train_sampling_strategy": "group_by_length"},
    "trl, padding-free": {"padding_free": True},
    PACKED: {"packing": True, "packing_strategy": "bfd", "per_device_train_batch_size": 1},
}


def run(rows: int = ROWS, mixed_rows: int = MIXED_ROWS, seeds: Sequence[int] = SEEDS) -> list[Figure]:
    """The recipe's rows, all of one length, and conversations of 1 to 20 of them; the kinds take turns."""
    base, found = shipped_base(), []
    with tempfile.TemporaryDirectory() as name:
        alike, mixed = Path(name) / "alike.jsonl", Path(name) / "mixed.jsonl"
        alike.write_bytes(b"".join((RECIPE / "train.jsonl").read_bytes().splitlines(keepends=True)[:rows]))
        write_mixed(mixed, mixed_rows)
        for label, file in (("rows of one length", alike), ("mixed lengths", mixed)):
            runs: dict[str, list[dict[str, Any]]] = {kind: [] for kind in (OURS, *TRL)}
            for seed in seeds:
                for kind, figures in runs.items():
                    figures.append(_train(kind, base, file, Path(name), seed))
            found += _rows(f"train, {label}", runs)
    return found


def _rows(label: str, runs: dict[str, list[dict[str, Any]]]) -> list[Figure]:
    """Medians over the seeds, each with the values of all of them."""

    def of(kind: str, name: str) -> list[float]:
        return [figures[name] for figures in runs[kind]]

    best = max(TRL, key=lambda kind: median(of(kind, "speed")))
    rows = []
    for kind in TRL:
        for name, (named, unit, better) in MEASURES.items():
            ours, theirs = of(OURS, name), of(kind, name)
            note = f"ours {_values(ours)}; theirs {_values(theirs)}" + ("; its fastest" if kind == best else "")
            rows.append(Figure(f"{label}, {named}", median(ours), unit, better, kind, median(theirs), note))
    return rows


def _values(values: list[float]) -> str:
    return " ".join(f"{value:.4g}" for value in values)


def _train(kind: str, base: Path, rows: Path, folder: Path, seed: int) -> dict[str, Any]:
    output = folder / f"{kind}-{rows.stem}-{seed}".replace(" ", "-")
    arguments = (kind, str(base), str(rows), str(RECIPE / "eval.jsonl"), str(output), str(seed))
    figures: dict[str, Any] = json.loads(run_child("benchmarks.training", *arguments))
    return figures


def write_mixed(file: Path, rows: int) -> None:
    """Conversations of mixed length: most are short, a few twenty times as long."""
    chance = random.Random(3)
    source = [orjson.loads(line)["messages"] for line in (RECIPE / "train.jsonl").read_bytes().splitlines()]
    with file.open("wb") as output:
        for _ in range(rows):
            turns = min(20, max(1, round(chance.lognormvariate(1.0, 0.9))))
            messages = [message for pair in chance.sample(source, turns) for message in pair]
            output.write(orjson.dumps({"messages": messages}, option=orjson.OPT_APPEND_NEWLINE))


def _recipe(rows: int, seed: int) -> ResolvedRecipe:
    import yaml

    from shared.domain.planning.plan import resolve

    recipe = Recipe.model_validate(yaml.safe_load((RECIPE / "recipe.yaml").read_text(encoding="utf-8")))
    resolved = resolve(recipe, "benchmark", train_rows=rows, characters_max=MAX_TOKENS)
    settings = {"max_length_tokens": MAX_TOKENS, "seed": seed, "batch_size": STEP_ROWS}
    chosen = resolved.hyperparameters.model_copy(update=settings)
    return resolved.model_copy(update={"hyperparameters": chosen})


def child(kind: str, base: Path, rows: Path, held_out: Path, output: Path, seed: int) -> dict[str, Any]:
    """Train in this process."""
    import torch

    from training_job.data.chat_rows import bundle_of, encode_file
    from training_job.data.selection import EncodedData
    from training_job.job.setup import Setup
    from training_job.methods import supervised
    from training_job.model.quantized import load_tokenizer

    work_offline()
    # As the trainer does for a tiny model. Two threads that wait for each other would measure the neighbors.
    torch.set_num_threads(1)
    tokenizer = load_tokenizer(base)
    bundle, policy = bundle_of(tokenizer), LengthPolicy(MAX_TOKENS, "reject")
    encoded, held_out_rows = (encode_file(file, bundle, policy) for file in (rows, held_out))
    recipe = _recipe(len(encoded.rows), seed)
    tokens = sum(len(row.input_ids) for row in encoded.rows)
    if kind == OURS:
        steps, micro = -(-len(encoded.rows) // STEP_ROWS), recipe.hyperparameters.micro_batch_size
        setup = Setup(base, output, recipe, tokenizer, steps, micro, selects=False)  # the last step counts: trl's does
        trainer: Any = supervised.build(setup, EncodedData(encoded.rows, []))
        assert sum(map(len, trainer.train_dataset)) == len(encoded.rows)
    else:
        longest = max(len(row.input_ids) for row in encoded.rows)
        pack = max(longest, tokens * STEP_ROWS // len(encoded.rows))
        trainer = _trl(kind, base, output, recipe, tokenizer, rows, pack)
    meter = _meter(trainer)
    trainer.add_callback(meter)
    trainer.train()
    loss = _held_out_loss(trainer, held_out_rows)
    return {"speed": meter.tokens / meter.seconds, "memory": peak_memory_mb(), "loss": loss}


def _trl(kind: str, base: Path, output: Path, recipe: ResolvedRecipe, tokenizer: Any, rows: Path, pack: int) -> Any:
    """Batch of 8 rows, learning rate and its course, adapters, one epoch, answers only; the rest is of TRL or trl's."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, set_seed

    from training_job.model import quantized

    trl, hyperparameters = import_module("trl"), recipe.hyperparameters
    settings = {
        "output_dir": str(output),
        "num_train_epochs": 1,
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "assistant_only_loss": True,
        "max_length": pack if kind == PACKED else None,
        "per_device_train_batch_size": STEP_ROWS,
        "learning_rate": hyperparameters.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.05,
        "seed": hyperparameters.seed,
        "report_to": "none",
        "disable_tqdm": True,
        **TRL[kind],
    }
    set_seed(hyperparameters.seed)  # as ours before the base is loaded
    model = AutoModelForCausalLM.from_pretrained(
        base, quantization_config=quantized.nf4(torch.float32), dtype=torch.float32
    )
    lines = rows.read_bytes().splitlines()
    trainer = trl.SFTTrainer(
        model=model,
        args=trl.SFTConfig(**settings),
        train_dataset=Dataset.from_list([{"messages": orjson.loads(line)["messages"]} for line in lines]),
        processing_class=tokenizer,
        peft_config=quantized.lora(hyperparameters, "llama"),
    )
    patches.adapters_to_float32(trainer.model)
    return trainer


def _meter(trainer: Any) -> Any:
    """Processor time and tokens from step to step, without the first one and those with an evaluation or a checkpoint.

    On one thread that is the time on an idle machine; a clock on the wall would measure the neighbors.
    """
    from transformers import TrainerCallback

    class Meter(TrainerCallback):
        def __init__(self) -> None:
            self.seconds, self.tokens = 0.0, 0
            self._last: tuple[float, int] | None = None

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            # Neither count has padding in it.
            seen = int(state.num_input_tokens_seen or getattr(trainer, "_total_train_tokens", 0))
            now = (time.process_time(), seen)
            if self._last:
                self.seconds += now[0] - self._last[0]
                self.tokens += now[1] - self._last[1]
            self._last = now

        def on_evaluate(self, *_: Any, **__: Any) -> None:
            self._last = None

        def on_save(self, *_: Any, **__: Any) -> None:
            self._last = None

    return Meter()


def _held_out_loss(trainer: Any, held_out_rows: Any) -> float:
    """Mean over the answers' tokens.

    trl's model stays in training mode (it has no dropout): in eval mode bitsandbytes 0.50 repacks the weights.
    """
    import torch

    if hasattr(trainer, "loss_of"):
        loss: float = trainer.loss_of(held_out_rows.rows)
        return loss
    total = tokens = 0.0
    with torch.no_grad():
        for row in held_out_rows.rows:
            counted = sum(label >= 0 for label in row.labels[1:])
            outputs = trainer.model(input_ids=torch.tensor([row.input_ids]), labels=torch.tensor([row.labels]))
            total, tokens = total + float(outputs.loss) * counted, tokens + counted
    return total / tokens


if __name__ == "__main__":
    which, model_folder, training, evaluation, target, number = sys.argv[1:]
    print(json.dumps(child(which, Path(model_folder), Path(training), Path(evaluation), Path(target), int(number))))
