"""The project's trainer beside trl's, default and at its best: same 4-bit model, adapters and rows, on the CPU.

    python -m benchmarks.training KIND BASE ROWS HELD_OUT OUTPUT

trains one pass over ROWS and prints the figures as JSON. Every kind sees each row once, so the same tokens; a step is
of 8 rows, or of a pack with about as many tokens.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from benchmarks.measure import REPOSITORY, Figure, peak_memory_mb, run_child
from local_stack.tiny_base.shipped import shipped_base
from shared.rendering.check import LengthPolicy
from training_job.job.runtime import work_offline

if TYPE_CHECKING:
    from shared.domain.recipe import ResolvedRecipe

RECIPE = REPOSITORY / "recipes" / "manufacturing"
ROWS, MIXED_ROWS, STEP_ROWS = 640, 200, 8
MAX_TOKENS = 1024  # where trl's default cuts a row; no row of ours is longer
MARKS = 4  # held-out losses along the way, at equal shares of the tokens
DEFAULT = "trl SFTTrainer, defaults"
# What a user finds who searches: float32 and no checkpointing suit a tiny model on a CPU; then trl's ways to pad less.
TUNED: dict[str, dict[str, Any]] = {
    "trl tuned, padded": {},
    "trl tuned, grouped by length": {"train_sampling_strategy": "group_by_length"},
    "trl tuned, padding-free": {"padding_free": True, "max_length": None},
    "trl tuned, packed": {"packing": True, "packing_strategy": "bfd", "per_device_train_batch_size": 1},
}


def run(rows: int = ROWS, mixed_rows: int = MIXED_ROWS) -> list[Figure]:
    """The recipe's rows, all of one length, and conversations of 1 to 20 of them."""
    base, found = shipped_base(), []
    with tempfile.TemporaryDirectory() as name:
        alike, mixed = Path(name) / "alike.jsonl", Path(name) / "mixed.jsonl"
        alike.write_bytes(b"".join((RECIPE / "train.jsonl").read_bytes().splitlines(keepends=True)[:rows]))
        write_mixed(mixed, mixed_rows)
        for label, file in (("rows of one length", alike), ("mixed lengths", mixed)):
            figures = {kind: _train(kind, base, file, Path(name)) for kind in ("droptune", DEFAULT, *TUNED)}
            found += _rows(f"train, {label}", figures)
    return found


def _rows(label: str, figures: dict[str, dict[str, Any]]) -> list[Figure]:
    ours = figures["droptune"]
    best = max(TUNED, key=lambda kind: figures[kind]["speed"])
    rows = [
        Figure(
            f"{label}, speed", ours["speed"], "tokens/CPU s", "higher", kind, figures[kind]["speed"], _named(kind, best)
        )
        for kind in (DEFAULT, *TUNED)
    ]
    for kind in (DEFAULT, best):
        theirs = figures[kind]
        rows += [
            Figure(f"{label}, peak memory", ours["memory"], "MB", "lower", kind, theirs["memory"]),
            Figure(
                f"{label}, held-out loss",
                ours["losses"][-1],
                "nats",
                "lower",
                kind,
                theirs["losses"][-1],
                _path(theirs),
            ),
        ]
    return [*rows, Figure(f"{label}, held-out loss", ours["losses"][-1], "nats", "lower", note=_path(ours))]


def _named(kind: str, best: str) -> str:
    return "padding not counted" + (", its best" if kind == best else "")


def _path(figures: dict[str, Any]) -> str:
    return "along the way " + " ".join(f"{loss:.3f}" for loss in figures["losses"])


def _train(kind: str, base: Path, rows: Path, folder: Path) -> dict[str, Any]:
    output = folder / f"{kind}-{rows.stem}".replace(" ", "-")
    printed = run_child("benchmarks.training", kind, str(base), str(rows), str(RECIPE / "eval.jsonl"), str(output))
    figures: dict[str, Any] = json.loads(printed)
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


def _recipe(rows: int) -> ResolvedRecipe:
    import yaml

    from shared.domain.planning.plan import resolve
    from shared.domain.recipe import Recipe

    recipe = Recipe.model_validate(yaml.safe_load((RECIPE / "recipe.yaml").read_text(encoding="utf-8")))
    return resolve(recipe, "benchmark", train_rows=rows, characters_max=MAX_TOKENS)


def child(kind: str, base: Path, rows: Path, held_out: Path, output: Path) -> dict[str, Any]:
    """Train in this process."""
    import torch

    from training_job.data.chat_rows import bundle_of, encode_file
    from training_job.job.setup import Setup
    from training_job.methods import EncodedData, supervised
    from training_job.model.quantized import load_tokenizer

    work_offline()
    # As the trainer does for a tiny model. Two threads that wait for each other would measure the neighbors.
    torch.set_num_threads(1)
    tokenizer = load_tokenizer(base)
    bundle, policy = bundle_of(tokenizer), LengthPolicy(MAX_TOKENS, "reject")
    encoded, held_out_rows = (encode_file(file, bundle, policy) for file in (rows, held_out))
    recipe = _recipe(len(encoded.rows))
    recipe = recipe.model_copy(
        update={"hyperparameters": recipe.hyperparameters.model_copy(update={"max_length_tokens": MAX_TOKENS})}
    )
    tokens = sum(len(row.input_ids) for row in encoded.rows)
    if kind == "droptune":
        steps, micro = -(-len(encoded.rows) // STEP_ROWS), recipe.hyperparameters.micro_batch_size
        setup = Setup(base, output, recipe, tokenizer, steps, micro)
        trainer: Any = supervised.build(setup, EncodedData(encoded, held_out_rows))
    else:
        longest = max(len(row.input_ids) for row in encoded.rows)
        pack = max(longest, tokens * STEP_ROWS // len(encoded.rows))
        trainer = _trl(kind, base, output, recipe, tokenizer, rows, pack)
    meter = _meter(trainer, held_out_rows, tokens)
    trainer.add_callback(meter)
    trainer.train()
    return {"speed": meter.tokens / meter.seconds, "memory": peak_memory_mb(), "losses": meter.losses}


def _trl(kind: str, base: Path, output: Path, recipe: ResolvedRecipe, tokenizer: Any, rows: Path, pack: int) -> Any:
    """Only what makes the job the same is set: batch of 8 rows, learning rate and its course, adapters, one epoch.

    The default keeps trl's precision, checkpointing, batches and loss; the tuned kinds take our precision, no
    checkpointing, and what TUNED says.
    """
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM

    from training_job.model import quantized

    trl, hyperparameters = import_module("trl"), recipe.hyperparameters
    tuned = kind in TUNED
    dtype = torch.float32 if tuned else torch.bfloat16
    settings = {
        "output_dir": str(output),
        "num_train_epochs": 1,
        "use_cpu": True,
        "per_device_train_batch_size": STEP_ROWS,
        "learning_rate": hyperparameters.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.05,
        "seed": hyperparameters.seed,
        "report_to": "none",
        "disable_tqdm": True,
    }
    if tuned:
        settings |= {"bf16": False, "activation_checkpointing": False, "max_length": pack} | TUNED[kind]
    options = {"dtype": dtype} if tuned else {}
    model = AutoModelForCausalLM.from_pretrained(base, quantization_config=quantized.nf4(dtype), **options)
    lines = rows.read_bytes().splitlines()
    return trl.SFTTrainer(
        model=model,
        args=trl.SFTConfig(**settings),
        train_dataset=Dataset.from_list([{"messages": orjson.loads(line)["messages"]} for line in lines]),
        processing_class=tokenizer,
        peft_config=quantized.lora(hyperparameters),
    )


def _meter(trainer: Any, held_out_rows: Any, all_tokens: int) -> Any:
    """Processor time and tokens from step to step, without the first one and those with an evaluation or a checkpoint.

    On one thread that is the time on an idle machine; a clock on the wall would measure the neighbors. `losses` are
    on the held-out rows, each time another share of the tokens has been seen.
    """
    from transformers import TrainerCallback

    class Meter(TrainerCallback):
        def __init__(self) -> None:
            self.seconds, self.tokens, self.losses = 0.0, 0, list[float]()
            self._last: tuple[float, int] | None = None

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            # Neither count has padding in it.
            seen = int(state.num_input_tokens_seen or getattr(trainer, "_total_train_tokens", 0))
            now = (time.process_time(), seen)
            if self._last:
                self.seconds += now[0] - self._last[0]
                self.tokens += now[1] - self._last[1]
            self._last = now
            if seen >= all_tokens * (len(self.losses) + 1) / MARKS or state.global_step == state.max_steps:
                self.losses.append(_held_out_loss(trainer, held_out_rows))
                self._last = None

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
    which, model_folder, training, evaluation, target = sys.argv[1:]
    print(json.dumps(child(which, Path(model_folder), Path(training), Path(evaluation), Path(target))))
