"""Faults that a test orders."""

from __future__ import annotations

import httpx
import pytest

from shared.domain.jobs import JobStatus
from tests.unit.local_stack.azure_ml.support import Local, job


@pytest.mark.parametrize(
    ("kind", "code"),
    [("quota", "OutOfQuota"), ("capacity", "AllocationFailed"), ("job_failure", "UserError")],
)
def test_a_fault_can_be_ordered_for_the_next_job(local: Local, kind: str, code: str) -> None:
    httpx.post(f"{local.url}/_emulator/faults", json={"kind": kind}, headers=local.token, verify=False)
    local.client.submit(job(f"fault-{kind}".replace("_", "-"), "true"))
    view = local.finish(f"fault-{kind}".replace("_", "-"))
    assert (view.status, view.error_code) == (JobStatus.FAILED, code)
