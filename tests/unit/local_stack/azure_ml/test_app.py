"""Routes of the emulator."""

from __future__ import annotations

import logging

import httpx
import pytest

from local_stack.azure_ml.app import listen
from tests.unit.local_stack.azure_ml.support import ARM_WORKSPACE, Local, job


def test_an_unknown_route_is_501_and_said_loudly(local: Local, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert local.arm("GET", "computes/gpu").status_code == 501
        assert local.arm("DELETE", "jobs/anything").status_code == 501
    assert f"NOT EMULATED: GET {ARM_WORKSPACE}/computes/gpu" in caplog.text


def test_the_own_api_lists_jobs_with_their_times_and_the_requests_seen(local: Local) -> None:
    local.client.submit(job("ledger", "true"))
    local.finish("ledger")
    jobs = httpx.get(f"{local.url}/_emulator/jobs", headers=local.token).json()["jobs"]
    mine = next(item for item in jobs if item["name"] == "ledger")
    times = [step["at"] for step in mine["history"]]
    assert times == sorted(times)
    requests = httpx.get(f"{local.url}/_emulator/requests", headers=local.token).json()["requests"]
    put = next(item for item in requests if item["method"] == "PUT" and item["path"].endswith("jobs/ledger"))
    assert put["api_version"] == "2025-01-01-preview"
    assert (
        httpx.post(f"{local.url}/_emulator/faults", json={"kind": "earthquake"}, headers=local.token).status_code == 400
    )


def test_it_listens_on_loopback_only() -> None:
    with listen(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
