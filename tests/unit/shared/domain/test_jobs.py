"""Jobs, quotas and endpoints as the platform reports them."""

from __future__ import annotations

import math

import pytest

from shared.domain.jobs import CoreQuota, JobStatus, chat_url


@pytest.mark.parametrize(
    ("status", "is_final"),
    [
        (JobStatus.QUEUED, False),
        (JobStatus.RUNNING, False),
        (JobStatus.CANCELLING, False),
        (JobStatus.COMPLETED, True),
        (JobStatus.FAILED, True),
        (JobStatus.CANCELLED, True),
    ],
)
def test_a_job_that_ended_stays_as_it_is(status: JobStatus, is_final: bool) -> None:
    assert status.final is is_final


@pytest.mark.parametrize(("limit", "free"), [(10, 7), (3, 0), (0, -3), (None, math.inf)])
def test_cores_in_use_are_not_free_and_without_a_limit_all_are(limit: int | None, free: float) -> None:
    assert CoreQuota(family="a", spot=False, used=3, limit=limit).free == free


@pytest.mark.parametrize("uri", ["https://x.example", "https://x.example/", "https://x.example/score"])
def test_an_endpoint_is_asked_at_the_path_of_chat_completions(uri: str) -> None:
    assert chat_url(uri) == "https://x.example/v1/chat/completions"
