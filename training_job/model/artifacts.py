"""The merged model with its card (README.md), and the check that it answers as its adapter does. Needs torch."""

import gc
import importlib.metadata
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from shared.domain.catalog import USES
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.results import JobMetrics
from shared.rendering.bundle import Bundle, license_files
from training_job.data.chat_rows import IGNORED, Encoded
from training_job.job.checkpoints import Identity
from training_job.job.files import ADAPTER_FILE, read_json, sha256_of
from training_job.job.runtime import CALIBRATION_FILE
from training_job.job.setup import Setup
from training_job.model import quantized
from training_job.model.generation import generate, left_out

PROBE_TOKENS = 64
TOKENS_AT_ONCE = 4096  # of padded prompts, for their keys and values must fit beside the merged model
# Rounding to 16 bit moves the loss by thousandths; a merge into the wrong weights by whole nats.
LOSS_TOLERANCE = 0.1


@dataclass(frozen=True)
class MergeCheck:
    """Merged model against adapter on the rows probed: loss per answer token in nats, share of equal answers."""

    rows: int
    adapter_loss: float
    merged_loss: float
    agreement: float


def free_memory() -> None:
    """Release the memory of a model before the next one is loaded."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def merge(setup: Setup) -> None:
    """Write OUTPUT/model/merged from OUTPUT/model/adapter."""
    free_memory()
    model = setup.output / "model"
    merged = quantized.merge_adapter(setup.base_model, model / "adapter", setup.dtype, quantize=setup.quantize)
    quantized.save_merged(merged, setup.tokenizer, model / "merged")


def require_same_loss(when: str, recorded: float | None, found: float | None) -> None:
    """Raises PermanentFailure `loss_differs` of class code if both are known and differ."""
    if recorded is None or found is None or abs(found - recorded) <= LOSS_TOLERANCE * max(1.0, abs(recorded)):
        return
    message = f"the loss on the rows probed is {found:.4f} {when}; training recorded {recorded:.4f}"
    raise PermanentFailure(FailureClass.CODE, "loss_differs", message)


def check_merge(setup: Setup, probe: Sequence[Encoded], trained_loss: float | None = None) -> MergeCheck | None:
    """Compare the saved adapter on its base with the merged folder, and with training's own `trained_loss`, on the same
    rows; None without rows. Raises PermanentFailure `loss_differs` or `merge_differs` of class code."""
    if not probe:
        return None
    free_memory()
    base = quantized.load_model(setup.base_model, setup.dtype, quantize=setup.quantize, spread=True)
    adapter = quantized.attach(base, setup.output / "model" / "adapter")
    prompts = [prompt_of(row) for row in probe]
    adapter_loss, adapter_answers = loss_of(adapter, probe), answers_to(prompts, adapter, setup)
    require_same_loss("with the saved adapter", trained_loss, adapter_loss)
    del adapter, base
    free_memory()
    merged = quantized.load_model(setup.output / "model" / "merged", setup.dtype, spread=True)
    merged_loss, merged_answers = loss_of(merged, probe), answers_to(prompts, merged, setup)
    same = sum(a == b for a, b in zip(adapter_answers, merged_answers, strict=True)) / len(probe)
    check = MergeCheck(len(probe), adapter_loss, merged_loss, same)
    if not merged_loss <= adapter_loss + LOSS_TOLERANCE * max(1.0, adapter_loss):
        raise PermanentFailure(FailureClass.CODE, "merge_differs", f"the merged model is not the trained one: {check}")
    return check


def loss_of(model: PreTrainedModel | PeftModel, probe: Sequence[Encoded]) -> float:
    """Loss over the rows' answers, in nats per token; of a prompt without one over its own tokens."""
    model.eval()
    total = tokens = 0.0
    with torch.inference_mode():
        for row in probe:
            has_answer = any(label != IGNORED for label in row.labels)
            labels = torch.tensor([row.labels if has_answer else row.input_ids], device=model.device)
            counted = int((labels[:, 1:] != IGNORED).sum())
            loss = model(input_ids=torch.tensor([row.input_ids], device=model.device), labels=labels).loss
            total, tokens = total + float(loss) * counted, tokens + counted
    return total / max(tokens, 1)


def answers_to(
    prompts: list[list[int]], model: PreTrainedModel | PeftModel, setup: Setup, tokens_at_once: int = TOKENS_AT_ONCE
) -> list[list[int]]:
    """Greedy answers to batches of prompts; only a prompt alone is of more than `tokens_at_once` tokens."""
    at_once = max(1, tokens_at_once // max(map(len, prompts)))
    answers: list[list[int]] = []
    for start in range(0, len(prompts), at_once):
        answers += generate(model, setup.tokenizer, prompts[start : start + at_once], PROBE_TOKENS)
    return answers


def prompt_of(row: Encoded) -> list[int]:
    """The row up to its last answer; a prompt without one whole."""
    if all(label == IGNORED for label in row.labels):
        return row.input_ids
    end = max(i for i, label in enumerate(row.labels) if label != IGNORED)
    start = end
    while start > 0 and row.labels[start - 1] != IGNORED:
        start -= 1
    return row.input_ids[:start]


LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "tokenizers", "datasets")


def model_manifest(
    setup: Setup, identity: Identity, bundle: Bundle, data_manifest: dict[str, Any], metrics: JobMetrics
) -> dict[str, Any]:
    """Where a model comes from, and the figures of its training; `seconds` are not known before the job ends."""
    recipe = setup.recipe
    return {
        "base_model": recipe.requested.base_model,
        "base_sha256": identity.base_sha256,
        "generation_settings_left_out": left_out(read_json(setup.base_model / "generation_config.json") or {}),
        "license": recipe.entry.terms.id,
        "continued_from": lineage(setup),
        "data_version": data_manifest["version"],
        "files_sha256": identity.data_sha256,
        "recipe": recipe.model_dump(mode="json"),
        "recipe_sha256": identity.recipe_sha256,
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "template_sha256": bundle.template_sha256,
        "tokenizer_bundle_sha256": bundle.sha256,
        "metrics": metrics.model_dump(mode="json", exclude={"seconds"}),
        "calibration": read_json(setup.output / CALIBRATION_FILE),
    }


def lineage(setup: Setup) -> dict[str, str] | None:
    """The run whose adapter training started from, and that adapter's hash."""
    if setup.recipe.continued_from is None or setup.continue_from is None:
        return None
    return {"run": setup.recipe.continued_from, "adapter_sha256": sha256_of(setup.continue_from / ADAPTER_FILE)}


def write_card(setup: Setup, data_version: str) -> None:
    """What the license asks for and bars, and the license, into the merged folder: copies of it go out with both."""
    recipe, folder = setup.recipe.requested, setup.output / "model" / "merged"
    terms = setup.recipe.entry.terms
    shipped = license_files(setup.base_model)
    # As Hugging Face reads it: `license_link` is a file beside it, or a URL.
    link = next(iter([*(file.name for file in shipped), *terms.texts]), "README.md")
    named = {"license": "other", "license_name": terms.id, "license_link": link}
    named = {"license": terms.id.lower()} if terms.id in ("Apache-2.0", "MIT") else named
    head = {"base_model": recipe.base_model, "library_name": "transformers", **named}
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in head.items()), "---"]
    lines += [f"# {setup.recipe.project}: {recipe.base_model}, tuned on data version {data_version}"]
    lines += ["", "## Use", "", recipe.use_case, *(f"- {use}" for use in recipe.intended_uses or ())]
    lines += ["", "## License", "", f"{terms.id}. It asks for:", "", *(f"- {asks}" for asks in terms.obligations)]
    lines += ["", "It bars:", "", *([f"- {use}: {USES[use]}" for use in terms.barred_uses] or ["- nothing"])]
    lines += ["", "Its texts:", "", *(f"- <{place}>" for place in terms.texts)]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for file in shipped:
        shutil.copyfile(file, folder / file.name)
