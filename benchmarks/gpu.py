"""Training on a CUDA device, beside TRL and Unsloth: `make bench-gpu`, or

    python -m benchmarks.gpu [--quantization nf4|none] [--json FILE]

An 8B Llama-shaped model with random weights. Each kind of trainer takes the same rows in a process of its own.
Model FLOPs utilization counts 4 operations per parameter and token: LoRA's forward pass and the gradients of its
inputs; attention and recomputation are not counted. Exit code 3 without a CUDA device: nothing is measured then.
Figures are written after each measurement; a run that was cut continues with what the file lacks.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from benchmarks.measure import machine, run_child
from shared.domain.catalog import find_entry
from shared.domain.planning.memory import memory_plan
from shared.domain.recipe import Recipe, ResolvedHyperparameters, ResolvedRecipe

NO_DEVICE = 3
BASE = "meta-llama/Llama-3.1-8B-Instruct"
KINDS = ("droptune", "trl defaults", "trl best", "unsloth")
WARM_UP_STEPS, STEPS = 2, 8
LIMIT_S = 420  # for one trainer on one case: a slow one must not keep the others from being measured
LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes")
# Dense 16-bit operations per second, data sheets; a card that is not listed gets no utilization.
PEAK_FLOPS = {
    "H200 NVL": 835e12,
    "H200": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
}
Quantization = Literal["nf4", "none"]


@dataclass(frozen=True)
class GpuCase:
    """What is trained: rows of at most `row_tokens`, `step_rows` a step, in micro batches of `micro_rows` full rows."""

    name: str
    quantization: Quantization
    row_tokens: int
    step_rows: int
    micro_rows: int
    mixed: bool = False

    def lengths(self) -> list[int]:
        """Of the rows of all steps: full ones, or lognormal with a median of an eighth of the longest."""
        chance, count = random.Random(11), self.step_rows * (WARM_UP_STEPS + STEPS)
        if not self.mixed:
            return [self.row_tokens] * count
        drawn = (int(chance.lognormvariate(0, 1.0) * self.row_tokens / 8) for _ in range(count))
        return [min(self.row_tokens, max(16, length)) for length in drawn]


def cases(quantizations: tuple[Quantization, ...] = ("nf4", "none")) -> list[GpuCase]:
    """Six by default, which the memory model is held to as well."""
    return [
        case
        for kind in quantizations
        for case in (
            GpuCase(f"4,096 tokens, {kind}", kind, 4096, 4, 1),
            GpuCase(f"8,192 tokens, {kind}", kind, 8192, 2, 1),
            GpuCase(f"mixed to 4,096 tokens, {kind}", kind, 4096, 32, 2, mixed=True),
        )
    ]


def utilization(tokens_per_s: float, parameters: int, device: str) -> float | None:
    """Share of the data sheet's operations, by the 4N convention; None for a part of a card or one not listed."""
    peak = next((flops for name, flops in PEAK_FLOPS.items() if name in device and "MIG" not in device), None)
    return tokens_per_s * 4 * parameters / peak if peak else None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quantization", choices=("nf4", "none"), help="one of the two; default: both")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args(argv)
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # with several cards transformers would spread TRL's batches
    import torch

    if not torch.cuda.is_available():
        print("bench-gpu: there is no CUDA device here; nothing was measured", file=sys.stderr)
        return NO_DEVICE
    device = torch.cuda.get_device_name(0)
    chosen = cases((options.quantization,)) if options.quantization else cases()
    rows = measure_all(BASE, chosen, device, options.json)
    Console(width=150).print(table(device, rows))
    return 0


def measure_all(base: str, chosen: list[GpuCase], device: str, file: Path | None) -> list[dict[str, Any]]:
    """Each trainer on each case. What `file` holds of the same set-up is kept; it is written after each measurement."""
    setup = {"device": device, "driver": driver(), "libraries": versions(), "machine": machine()}
    kept = measured_before(file, setup)
    todo = [(case, kind) for case in chosen for kind in KINDS if (case.name, kind) not in kept]
    with tempfile.TemporaryDirectory() as name:
        model, began = Path(name) / "model", time.monotonic()
        if todo:
            _say(f"building {base} with random weights; {len(todo)} measurements, {len(kept)} are there already")
            run_child("benchmarks.gpu_child", "build", base, str(model))
        for number, (case, kind) in enumerate(todo):
            left = f", about {(time.monotonic() - began) / number * (len(todo) - number):.0f} s left" if number else ""
            _say(f"{number + 1}/{len(todo)}: {kind}, {case.name}{left}")
            kept[case.name, kind] = _measured(kind, base, case, model, device)
            if file:
                body = {"date": datetime.now(UTC).isoformat(timespec="seconds"), **setup, "rows": list(kept.values())}
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    return list(kept.values())


def measured_before(file: Path | None, setup: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows by case and trainer that need no second measurement; none where the file is of another set-up."""
    found = json.loads(file.read_text(encoding="utf-8")) if file and file.exists() else {}
    if any(found.get(name) != value for name, value in setup.items()):
        return {}
    return {(row["case"], row["kind"]): row for row in found["rows"] if "failed" not in row}


def driver() -> str | None:
    """Version of the card's driver; None where there is no card."""
    tool = shutil.which("nvidia-smi")
    command = [tool, "--query-gpu=driver_version", "--format=csv,noheader"] if tool else None
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or None if command else None


def versions() -> dict[str, str | None]:
    """Of what decides speed; None for what is not installed."""
    packages = (*LIBRARIES, "unsloth", "flash_attn")
    return {name: importlib.metadata.version(name) if importlib.util.find_spec(name) else None for name in packages}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _measured(kind: str, base: str, case: GpuCase, model: Path, device: str) -> dict[str, Any]:
    """One row of the table; a trainer that is not installed or fails says so instead of figures."""
    row: dict[str, Any] = {"case": case.name, "kind": kind}
    if kind == "unsloth" and importlib.util.find_spec("unsloth") is None:
        return row | {"failed": "not installed"}
    arguments = (kind, base, str(model), json.dumps(asdict(case)))
    try:
        found = json.loads(run_child("benchmarks.gpu_child", *arguments, limit_s=LIMIT_S))
    except subprocess.CalledProcessError as error:
        return row | {"failed": (error.stderr.strip() or "no message").splitlines()[-1][:200]}
    except subprocess.TimeoutExpired:
        return row | {"failed": f"no result within {LIMIT_S} s"}
    share = utilization(found["tokens_per_s"], find_entry(base).parameters, device)
    return {**row, **found, "utilization": share}


def table(device: str, rows: list[dict[str, Any]]) -> Table:
    """The rows for a reader."""
    shown = Table(title=f"training on {device}; MFU by 4N", title_justify="left")
    for column in ("rows", "trainer", "tokens/s", "MFU", "peak GB", "predicted GB", "prediction off by"):
        shown.add_column(column)
    for row in rows:
        if "failed" in row:
            shown.add_row(row["case"], row["kind"], f"not measured: {row['failed']}")
            continue
        peak, predicted, share = row["peak_bytes"], row["predicted_bytes"], row["utilization"]
        shown.add_row(
            row["case"],
            row["kind"],
            f"{row['tokens_per_s']:,.0f}",
            f"{share:.1%}" if share is not None else "card not listed",
            f"{peak / 1e9:.1f}" if peak else "",
            f"{predicted / 1e9:.1f}" if predicted else "",
            f"{predicted / peak - 1:+.1%}" if predicted and peak else "",
        )
    return shown


def recipe_of(base: str, case: GpuCase, *, checkpointing: bool) -> ResolvedRecipe:
    """The case as a resolved recipe; rank 16 on all linear layers, as the catalog's default."""
    entry = find_entry(base)
    hyperparameters = ResolvedHyperparameters(
        n_epochs=1,
        batch_size=case.step_rows,
        micro_batch_size=case.micro_rows,
        learning_rate=entry.defaults.learning_rate,
        lora_rank=16,
        lora_alpha=32,
        max_length_tokens=case.row_tokens,
        total_steps=WARM_UP_STEPS + STEPS,
        gradient_checkpointing=checkpointing,
        compute_dtype=entry.defaults.compute_dtype,
        seed=1,
        quantization=case.quantization,
    )
    return ResolvedRecipe(
        requested=Recipe(base_model=base),
        project="benchmark",
        endpoint="benchmark",
        hyperparameters=hyperparameters,
        training_instance_type="Local_CPU",
        serving_instance_type="Local_CPU",
        reasons={},
    )


def planned(base: str, case: GpuCase, memory_bytes: int) -> tuple[ResolvedRecipe, int]:
    """The recipe with checkpointing only where the plan needs it, and the peak of tensors it predicts."""
    for checkpointing in (False, True):
        recipe = recipe_of(base, case, checkpointing=checkpointing)
        plan = memory_plan(find_entry(base), recipe.hyperparameters)
        if plan.total_bytes <= memory_bytes:
            break
    return recipe, plan.total_bytes - plan.runtime_bytes


if __name__ == "__main__":
    sys.exit(main())
