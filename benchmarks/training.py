"""The project's trainer beside trl's with its default settings: same 4-bit model, adapters, rows and steps, on the CPU.

    python -m benchmarks.training droptune|trl|trl-float32 BASE ROWS HELD_OUT STEPS OUTPUT

trains once and prints the figures as JSON.
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

from benchmarks.measure import REPOSITORY, Row, peak_memory_mb, run_child
from local_stack.base_model import cached_base
from local_stack.say import Say
from shared.rendering.check import LengthPolicy
from training_job.job import work_offline

if TYPE_CHECKING:
    from shared.domain.recipe import ResolvedRecipe

RECIPE = REPOSITORY / "recipes" / "manufacturing"
STEPS, MIXED_STEPS = 80, 25  # of 8 rows
MAX_TOKENS = 1024  # where trl's default cuts a row; no row of ours is longer
# The second shows what is left once a user has found the settings that suit a tiny model on a CPU.
RIVALS = {"trl": "trl SFTTrainer, defaults", "trl-float32": "trl, float32, no checkpointing"}


def run(steps: int = STEPS, mixed_steps: int = MIXED_STEPS) -> list[Row]:
    """The recipe's rows, all of one length, and conversations of 1 to 20 of them."""
    base, found = cached_base(Say()), []
    with tempfile.TemporaryDirectory() as name:
        mixed = Path(name) / "mixed.jsonl"
        write_mixed(mixed, rows=mixed_steps * 8)
        recipes = (("manufacturing", RECIPE / "train.jsonl", steps), ("mixed lengths", mixed, mixed_steps))
        for label, rows, count in recipes:
            figures = {kind: _train(kind, base, rows, count, Path(name)) for kind in ("droptune", *RIVALS)}
            found += _rows(f"train, {label}", figures, f"{count} steps of 8 rows, padding not counted")
    return found


def _rows(label: str, figures: dict[str, dict[str, float]], note: str) -> list[Row]:
    ours = figures["droptune"]
    return [
        row
        for kind, rival in RIVALS.items()
        for row in (
            Row(f"{label}, speed", ours["speed"], "tokens/CPU s", "higher", rival, figures[kind]["speed"], note),
            Row(f"{label}, peak memory", ours["memory"], "MB", "lower", rival, figures[kind]["memory"]),
            Row(f"{label}, held-out loss", ours["loss"], "nats", "lower", rival, figures[kind]["loss"]),
        )
    ]


def _train(kind: str, base: Path, rows: Path, steps: int, folder: Path) -> dict[str, float]:
    output = folder / f"{kind}-{rows.stem}"
    printed = run_child(
        "benchmarks.training", kind, str(base), str(rows), str(RECIPE / "eval.jsonl"), str(steps), str(output)
    )
    figures: dict[str, float] = json.loads(printed)
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

    from shared.domain.planning import resolve
    from shared.domain.recipe import Recipe

    recipe = Recipe.model_validate(yaml.safe_load((RECIPE / "recipe.yaml").read_text(encoding="utf-8")))
    return resolve(recipe, "benchmark", train_rows=rows, characters_max=MAX_TOKENS)


def child(kind: str, base: Path, rows: Path, held_out: Path, steps: int, output: Path) -> dict[str, float]:
    """Train in this process."""
    import torch

    work_offline()
    # As the trainer does for a tiny model. Two threads that wait for each other would measure the neighbours.
    torch.set_num_threads(1)
    tokenizer = _part("quantised").load_tokenizer(base)
    bundle, policy = _part("chat_rows").bundle_of(tokenizer), LengthPolicy(MAX_TOKENS, "reject")
    encoded, judged = (_part("chat_rows").encode_file(file, bundle, policy) for file in (rows, held_out))
    recipe = _recipe(len(encoded.rows))
    if kind == "droptune":
        setup = _part("trainer").Setup(base, output, recipe, tokenizer, steps, recipe.hyperparameters.micro_batch_size)
        data = _part("methods").Data(encoded, judged, len(encoded.rows), 0, 0)
        trainer = _part("methods.supervised").build(setup, data)
    else:
        trainer = _trl(base, output, recipe, tokenizer, rows, steps, tuned=kind == "trl-float32")
    speed = _speedometer(trainer)
    trainer.add_callback(speed)
    trainer.train()
    return {
        "speed": speed.tokens / speed.seconds,
        "memory": peak_memory_mb(),
        "loss": _loss(trainer.model, judged),
    }


def _part(name: str) -> Any:
    """A module of the job, imported only where torch may be loaded; its types are not checked here."""
    return import_module(f"training_job.{name}")


def _trl(
    base: Path, output: Path, recipe: ResolvedRecipe, tokenizer: Any, rows: Path, steps: int, *, tuned: bool
) -> Any:
    """Only what makes the job the same is set; precision, checkpointing, batches and loss are trl's defaults.

    `tuned` also takes our precision, and no checkpointing.
    """
    import torch
    from datasets import Dataset  # type: ignore[import-untyped]
    from transformers import AutoModelForCausalLM

    trl, quantised, hyperparameters = import_module("trl"), _part("quantised"), recipe.hyperparameters
    dtype = torch.float32 if tuned else torch.bfloat16
    config = trl.SFTConfig(
        output_dir=str(output),
        max_steps=steps,
        use_cpu=True,
        per_device_train_batch_size=hyperparameters.batch_size,
        learning_rate=hyperparameters.learning_rate,
        seed=hyperparameters.seed,
        report_to="none",
        disable_tqdm=True,
        **({"bf16": False, "gradient_checkpointing": False} if tuned else {}),
    )
    options = {"dtype": dtype} if tuned else {}
    model = AutoModelForCausalLM.from_pretrained(base, quantization_config=quantised.nf4(dtype), **options)
    lines = rows.read_bytes().splitlines()
    return trl.SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list([{"messages": orjson.loads(line)["messages"]} for line in lines]),
        processing_class=tokenizer,
        peft_config=quantised.lora(hyperparameters),
    )


def _speedometer(trainer: Any) -> Any:
    """Processor time and tokens from step to step, without the first one and those with an evaluation or a checkpoint.

    On one thread that is the time on an idle machine; a clock on the wall would measure the neighbours.
    """
    from transformers import TrainerCallback

    class Speedometer(TrainerCallback):
        def __init__(self) -> None:
            self.seconds, self.tokens = 0.0, 0
            self._last: tuple[float, int] | None = None

        def on_step_end(self, *_: Any, **__: Any) -> None:
            # trl's own count of tokens that are not padding.
            now = (time.process_time(), int(trainer._total_train_tokens))
            if self._last:
                self.seconds += now[0] - self._last[0]
                self.tokens += now[1] - self._last[1]
            self._last = now

        def on_evaluate(self, *_: Any, **__: Any) -> None:
            self._last = None

        def on_save(self, *_: Any, **__: Any) -> None:
            self._last = None

    return Speedometer()


def _loss(model: Any, judged: Any) -> float:
    """Mean over the answers' tokens.

    The model stays in training mode (it has no dropout): in eval mode bitsandbytes 0.50 repacks the weights.
    """
    import torch

    total = tokens = 0.0
    with torch.no_grad():
        for row in judged.rows:
            counted = sum(label >= 0 for label in row.labels)
            loss = model(input_ids=torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])).loss
            total, tokens = total + float(loss) * counted, tokens + counted
    return total / tokens


if __name__ == "__main__":
    which, model_folder, training, evaluation, count, target = sys.argv[1:]
    print(json.dumps(child(which, Path(model_folder), Path(training), Path(evaluation), int(count), Path(target))))
