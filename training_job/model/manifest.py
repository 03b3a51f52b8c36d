"""The manifest of a trained model: its lineage and metrics."""

import importlib.metadata
from typing import Any

from shared.domain.catalog import find_entry
from shared.domain.results import JobMetrics
from shared.rendering import Bundle
from training_job.job.checkpoints import Identity
from training_job.job.files import ADAPTER_FILE, read_json, sha256_of
from training_job.job.runtime import CALIBRATION_FILE
from training_job.job.setup import Setup
from training_job.model.generation import left_out

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
        "license": find_entry(recipe.requested.base_model).license,
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
