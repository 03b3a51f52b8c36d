"""One trainer on one case of `benchmarks.gpu`, in a process of its own.

    python -m benchmarks.gpu_child build BASE FOLDER
    python -m benchmarks.gpu_child KIND BASE FOLDER CASE

The second prints its figures as JSON. It runs on a CPU as well, for tests; peaks are then null.
"""

import importlib.util
import json
import random
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.gpu import STEPS, WARM_UP_STEPS, GpuCase, planned
from shared.domain.catalog import find_entry
from training_job.job.runtime import work_offline

FIRST_TOKEN = 3  # below are the tokenizer's special ones


def build(base: str, folder: Path) -> None:
    """A model of the base's shape with random 16-bit weights, and the tiny base's tokenizer, which no row needs."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from local_stack.tiny_base.build import build_random_base

    dims = find_entry(base).dims
    config = LlamaConfig(
        vocab_size=dims.vocab,
        hidden_size=dims.hidden,
        intermediate_size=dims.intermediate,
        num_hidden_layers=dims.layers,
        num_attention_heads=dims.heads,
        num_key_value_heads=dims.kv_heads,
        head_dim=dims.head_dim,
        tie_word_embeddings=dims.tied,
        max_position_embeddings=find_entry(base).context_tokens,
    )
    build_random_base(folder)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlamaForCausalLM(config)
    model.save_pretrained(folder)


def measure(kind: str, base: str, folder: Path, case: GpuCase) -> dict[str, Any]:
    """Tokens per second over STEPS steps, padding not counted, and the peak of tensors as torch counts it."""
    import torch

    work_offline()
    cuda = torch.cuda.is_available()
    memory = torch.cuda.get_device_properties(0).total_memory if cuda else sys.maxsize
    recipe, predicted = planned(base, case, int(memory * 0.95))
    vocabulary, chance = find_entry(base).dims.vocab, random.Random(7)
    rows = [[chance.randrange(FIRST_TOKEN, vocabulary) for _ in range(length)] for length in case.lengths()]
    with tempfile.TemporaryDirectory() as output:
        make = _ours if kind == "droptune" else _unsloth if kind == "unsloth" else _trl
        trainer = make(kind, folder, Path(output), recipe, rows, case)
        clock = _clock(trainer)
        trainer.add_callback(clock)
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        trainer.train()
    return {
        "tokens_per_s": clock.tokens / clock.seconds,
        "peak_bytes": int(torch.cuda.max_memory_allocated()) if cuda else None,
        "predicted_bytes": predicted if kind == "droptune" else None,
        "checkpointing": recipe.hyperparameters.gradient_checkpointing,
    }


def _ours(_kind: str, folder: Path, output: Path, recipe: Any, rows: list[list[int]], case: GpuCase) -> Any:
    from transformers import EarlyStoppingCallback

    from training_job.data.chat_rows import Encoded
    from training_job.data.selection import EncodedData
    from training_job.job.setup import Setup
    from training_job.methods import supervised
    from training_job.model import quantized as quantized

    encoded = [Encoded(n, ids, ids) for n, ids in enumerate(rows)]
    tokenizer = quantized.load_tokenizer(folder)
    setup = Setup(folder, output, recipe, tokenizer, WARM_UP_STEPS + STEPS, case.micro_rows)
    trainer = supervised.build(setup, EncodedData(encoded, encoded[:1]))
    trainer.args.eval_strategy = trainer.args.save_strategy = "no"
    trainer.args.load_best_model_at_end = False
    trainer.remove_callback(EarlyStoppingCallback)
    return trainer


def _settings(kind: str, output: Path, recipe: Any, case: GpuCase) -> dict[str, Any]:
    """Same work a step for each; "trl defaults" leaves the rest alone, "trl best" packs as its text advises."""
    import torch

    settings: dict[str, Any] = {
        "output_dir": str(output),
        "max_steps": WARM_UP_STEPS + STEPS,
        "per_device_train_batch_size": case.micro_rows,
        "gradient_accumulation_steps": case.step_rows // case.micro_rows,
        "learning_rate": recipe.hyperparameters.learning_rate,
        "max_length": case.row_tokens,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not torch.cuda.is_available(),
        "activation_checkpointing": True,  # trl's default, under the name that does not warn
    }
    if kind != "trl defaults":
        settings |= {
            "packing": True,
            "packing_strategy": "bfd",
            "activation_checkpointing": recipe.hyperparameters.gradient_checkpointing,
        }
        full_rows = sum(case.lengths()) // case.row_tokens  # a packed row holds several, so a step needs fewer
        per_step = full_rows // (WARM_UP_STEPS + STEPS)
        settings["gradient_accumulation_steps"] = max(1, per_step // case.micro_rows)
    return settings


def _dataset(rows: list[list[int]]) -> Any:
    from datasets import Dataset

    return Dataset.from_dict({"input_ids": rows, "labels": rows})


def _trl(kind: str, folder: Path, output: Path, recipe: Any, rows: list[list[int]], case: GpuCase) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    from training_job.model import quantized as quantized

    trl = import_module("trl")
    flash = torch.cuda.is_available() and importlib.util.find_spec("flash_attn") is not None
    options: dict[str, Any] = {"attn_implementation": "flash_attention_2" if flash else "sdpa"}
    if case.quantization == "nf4":
        options["quantization_config"] = quantized.nf4(torch.bfloat16)
    if torch.cuda.is_available():
        options["device_map"] = {"": 0}
    return trl.SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, **options),
        args=trl.SFTConfig(**_settings(kind, output, recipe, case)),
        train_dataset=_dataset(rows),
        processing_class=quantized.load_tokenizer(folder),
        peft_config=quantized.lora(recipe.hyperparameters, find_entry(recipe.requested.base_model).dims.model_type),
    )


def _unsloth(kind: str, folder: Path, output: Path, recipe: Any, rows: list[list[int]], case: GpuCase) -> Any:
    """After Unsloth's documentation; not run where this was written, which had neither it nor a GPU."""
    unsloth = import_module("unsloth")  # must come before trl, which it patches
    trl = import_module("trl")
    from training_job.model import quantized as quantized

    model, _ = unsloth.FastLanguageModel.from_pretrained(
        str(folder), max_seq_length=case.row_tokens, load_in_4bit=case.quantization == "nf4"
    )
    adapter = quantized.lora(recipe.hyperparameters, find_entry(recipe.requested.base_model).dims.model_type)
    model = unsloth.FastLanguageModel.get_peft_model(
        model,
        r=adapter.r,
        lora_alpha=adapter.lora_alpha,
        use_rslora=adapter.use_rslora,
        lora_dropout=0,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        use_gradient_checkpointing="unsloth" if recipe.hyperparameters.gradient_checkpointing else False,
    )
    settings = _settings(kind, output, recipe, case)
    del settings["activation_checkpointing"]
    return trl.SFTTrainer(
        model=model,
        args=trl.SFTConfig(**settings),
        train_dataset=_dataset(rows),
        processing_class=quantized.load_tokenizer(folder),
    )


def _clock(trainer: Any) -> Any:
    """Wall time and tokens from the end of the warm-up to the last step; the device is waited for at both."""
    import torch
    from transformers import TrainerCallback

    class StepTimer(TrainerCallback):
        seconds, tokens = 0.0, 0
        _began: tuple[float, int] = (0.0, 0)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step not in (WARM_UP_STEPS, WARM_UP_STEPS + STEPS):
                return
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            now = (time.monotonic(), int(state.num_input_tokens_seen or getattr(trainer, "_total_train_tokens", 0)))
            if state.global_step == WARM_UP_STEPS:
                self._began = now
            else:
                self.seconds, self.tokens = now[0] - self._began[0], now[1] - self._began[1]

    return StepTimer()


if __name__ == "__main__":
    which, base_model, model_folder, *given = sys.argv[1:]
    if which == "build":
        build(base_model, Path(model_folder))
        print("built")
    else:
        print(json.dumps(measure(which, base_model, Path(model_folder), GpuCase(**json.loads(given[0])))))
