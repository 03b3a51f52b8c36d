"""What a run has in flight when it fails."""

from __future__ import annotations

import gzip
from dataclasses import replace

import pytest

from shared.ports import Services
from shared.runner import Runner
from shared.steps.fail_run import stop_jobs
from tests.unit.shared.support import ROW, drop


class Cancelling:
    """A platform that keeps the names of the jobs it is to cancel."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []

    def begin_cancel(self, name: str) -> None:
        self.cancelled.append(name)


@pytest.mark.parametrize(
    ("text", "jobs"),
    [(ROW, 0), (gzip.compress(ROW), 0), (b"PAR1" + ROW, 1), (gzip.compress(b"x" * 20_000_001), 1)],
    ids=["text", "a gzip", "Parquet", "a gzip with much text"],
)
def test_a_job_that_may_have_been_sent_off_before_the_run_says_so_is_cancelled(
    services: Services, runner: Runner, text: bytes, jobs: int
) -> None:
    run = drop(services, runner, text=text)
    assert run is not None
    platform = Cancelling()
    stop_jobs(run, replace(services, launcher=platform))  # type: ignore[arg-type]
    assert len(platform.cancelled) == jobs
