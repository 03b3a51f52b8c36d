"""The token with which a job asks a judge."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.domain.errors import FailureClass, PermanentFailure
from tests.judge_server import JudgeServer, Reply, serve_judge
from training_job.evaluation.judges import scoring_token


def test_a_job_gets_the_token_of_its_own_identity(as_job: Callable[[JudgeServer], None]) -> None:
    with serve_judge(lambda prompt: Reply()) as server:
        as_job(server)
        assert scoring_token() == "of-the-job"


def test_an_identity_that_gets_no_token_is_the_platforms_fault(
    as_job: Callable[[JudgeServer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_judge(lambda prompt: Reply()) as server:
        as_job(server)
        monkeypatch.delenv("MSI_SECRET")
        monkeypatch.setenv("DEFAULT_IDENTITY_CLIENT_ID", "of-another")
        with pytest.raises(PermanentFailure) as refused:
            scoring_token()
    assert (refused.value.failure_class, refused.value.problem.code) == (FailureClass.PLATFORM, "no_identity")
