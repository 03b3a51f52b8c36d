"""A dataset that is too large for the function is validated by a job, and the run continues from there.

One stack serves both tests; its limit is so low that any real dataset is large.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.stack.local import LocalStack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

MAX_INLINE_BYTES = 2000


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    running = LocalStack(
        tmp_path_factory.mktemp("large") / "stack", {"INLINE_VALIDATION_MAX_BYTES": str(MAX_INLINE_BYTES)}
    )
    yield running
    running.down()


def jobs_of(local: LocalStack, run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {job["name"]: job for job in local.jobs() if run["id"] in job["name"]}


def statuses(run: dict[str, Any]) -> list[str]:
    return [line["status"] for line in run["history"]]


@pytest.mark.ci
def test_broken_rows_of_a_large_file_are_rejected_by_row_and_code_after_one_cpu_job(local: LocalStack) -> None:
    rows = [
        json.dumps({"messages": [{"role": "user", "content": f"part {n}"}, {"role": "assistant", "content": "a"}]})
        for n in range(60)
    ]
    rows[3] = "{not json"
    rows[7] = json.dumps({"messages": [{"role": "user", "content": "alone"}]})
    text = "\n".join(rows).encode()
    assert len(text) > MAX_INLINE_BYTES
    local.drop("broken", "train.jsonl", text)
    run = local.wait("broken", {"rejected"}, within_s=60)
    assert statuses(run) == ["received", "validating", "rejected"]
    report = local.get(f"/api/runs/{run['id']}/report")
    found = {group["code"]: group["rows"] for group in report["problems"] if group["severity"] == "error"}
    assert found == {"invalid_json": [4], "example_missing_assistant_message": [8]}
    assert set(run["validation"]["codes"]) == set(found)
    job = f"{run['id']}-validation-1"
    ledger = jobs_of(local, run)
    assert [reference["name"] for reference in run["jobs"]] == list(ledger) == [job]
    assert ledger[job]["status"] == "Completed"
    assert ledger[job]["properties"]["resources"]["instanceType"] == "Standard_E4ds_v4"


def test_a_good_large_file_is_validated_by_a_job_trained_on_and_can_be_cancelled(local: LocalStack) -> None:
    local.drop_recipe("shop")
    run = local.wait("shop", {"training"}, within_s=60)
    assert statuses(run) == ["received", "validating", "validated", "training"]
    validation, training = f"{run['id']}-validation-1", f"{run['id']}-training-1"
    assert [reference["name"] for reference in run["jobs"]] == [validation, training]
    assert (run["curated"]["train_rows"], run["curated"]["eval_rows"]) == (1200, 120)
    version = local.root / "blobs" / "curated" / "shop" / run["curated"]["version"]
    assert {path.name for path in version.iterdir()} == {"train.jsonl", "eval.jsonl", "report.json", "manifest.json"}

    response = httpx.post(f"{local.url}/api/runs/{run['id']}/cancel", timeout=30, trust_env=False)
    assert response.status_code == 202
    ended = local.wait("shop", {"cancelled"}, within_s=60)
    assert statuses(ended)[-2:] == ["cancelling", "cancelled"]
    found = {name: job["status"] for name, job in jobs_of(local, run).items()}
    assert found == {validation: "Completed", training: "Canceled"}
