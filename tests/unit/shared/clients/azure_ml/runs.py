"""Runs for which the pipeline makes jobs and deployments."""

from __future__ import annotations

from datetime import UTC, datetime

from shared.domain.dataset import CuratedVersion, DatasetRef
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe
from shared.domain.run import Run, Status
from shared.services import build_config
from shared.settings import Settings

# Short name -> catalog id, and a run id of its own for each: job names are unique in a workspace.
BASES = {
    "llama-3.1-8b": ("meta-llama/Llama-3.1-8B-Instruct", "run-00000000000a"),
    "mistral-7b": ("mistralai/Mistral-7B-Instruct-v0.3", "run-00000000000b"),
    "phi-4": ("microsoft/Phi-4", "run-00000000000c"),
}
LARGEST = "llama-3.3-70b"
CONFIG = build_config(Settings())


def run_of(base: str, characters: int = 4000) -> Run:
    """A run of 1,500 rows that was validated, as the functions would have it."""
    base_model, run_id = {**BASES, LARGEST: ("meta-llama/Llama-3.3-70B-Instruct", "run-00000000000e")}[base]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    source = DatasetRef(path="datasets/plant/train.jsonl", etag="1", size_bytes=1, sha256="0" * 64)
    curated = CuratedVersion(
        project="plant", version="c" * 64, source=source, train_rows=1500, eval_rows=120, characters_max=characters
    )
    recipe = Recipe(base_model=base_model, use_case="Answers questions of maintenance staff.")
    return Run(
        id=run_id,
        project="plant",
        status=Status.VALIDATED,
        revision=2,
        attempt=1,
        created_at=now,
        updated_at=now,
        deadline_at=None,
        dataset=source,
        fingerprint="0" * 16,
        curated=curated,
        recipe=resolve(recipe, f"plant-{base.replace('.', '-')}", train_rows=1500, characters_max=characters),
    )
