"""A model tuned and asked through OpenAI's own client, which knows two base URLs and the endpoint's key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from local_stack.azure_ml.tokens import load_secret
from tests.stack.local import RECIPE, LocalStack, rows, until

if TYPE_CHECKING:  # half a second, in each worker that collects this file
    from openai.types.fine_tuning import FineTuningJob

pytestmark = [pytest.mark.slow, pytest.mark.stack, pytest.mark.timeout(900)]


def test_a_job_goes_from_files_to_an_answering_model(local: LocalStack, tmp_path: Path) -> None:
    from openai import OpenAI

    recipe = yaml.safe_load((RECIPE / "recipe.yaml").read_text())
    local.drop("parts", "recipe.yaml", yaml.safe_dump({"evaluation": recipe["evaluation"]}).encode())
    with OpenAI(api_key="local", base_url=f"{local.url}/v1", max_retries=0) as ai:
        training, held_out = (
            ai.files.create(file=RECIPE / name, purpose="fine-tune").id for name in ("train.jsonl", "eval.jsonl")
        )
        job = ai.fine_tuning.jobs.create(
            model="droptune/tiny-llama",
            training_file=training,
            validation_file=held_out,
            suffix="parts",
            method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto"}}},
        )
        assert job.status == "validating_files"
        seen: list[str] = []

        def over() -> FineTuningJob | None:
            now = ai.fine_tuning.jobs.retrieve(job.id)
            if now.status not in seen:
                seen.append(now.status)
            return now if now.status in ("succeeded", "failed", "cancelled") else None

        done = until(over, "the job is over", within_s=600)
        assert (done.status, done.error) == ("succeeded", None)
        assert seen[-2:] == ["running", "succeeded"]
        assert done.fine_tuned_model == "parts"
        assert done.finished_at is not None
        assert done.finished_at >= done.created_at
        run = local.run(job.id)
        assert done.trained_tokens == run["training"]["processed_tokens"] > 0
        assert (run["requested_by"], run["evaluation"]["candidate"]["rows"]) == ("local", len(rows("eval.jsonl")))
        events = list(ai.fine_tuning.jobs.list_events(job.id, limit=3))
        assert [event.message for event in events][::-1][:4] == [
            "Dataset uploaded",
            "Validation passed",
            "Training started",
            "Evaluation started",
        ]
        assert events[0].message == "Model promoted"
        (checkpoint,) = ai.fine_tuning.jobs.checkpoints.list(job.id)
        assert checkpoint.fine_tuned_model_checkpoint == run["rollout"]["model"]
        assert len(local.runs("parts")) == 1, "what the job wrote into the drop zone started nothing"
    scoring_uri = str(events[0].data["scoring_uri"])  # type: ignore[index]
    question, answer = yaml.safe_load(rows("eval.jsonl")[0])["messages"]
    key = load_secret(local.root / "azure_ml")
    with OpenAI(api_key=key, base_url=f"{scoring_uri.rstrip('/')}/v1") as endpoint:
        completion = endpoint.chat.completions.create(model=done.fine_tuned_model, messages=[question], temperature=0)
    assert completion.choices[0].message.content == answer["content"]
