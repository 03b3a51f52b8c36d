"""OpenAI's own client: pages of a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from tests.unit.functions.http.openai.support import create

if TYPE_CHECKING:
    from openai import OpenAI


def test_jobs_are_listed_newest_first_in_pages_and_by_metadata(ai: OpenAI, training: str, client: TestClient) -> None:
    import openai

    ids = [create(ai, training, metadata={"team": str(number % 2)}).id for number in range(3)][::-1]
    first = ai.fine_tuning.jobs.list(limit=2)
    assert ([job.id for job in first.data], first.has_more) == (ids[:2], True)
    assert [job.id for job in first] == ids, "the client asks for the next page"
    assert [job.id for job in ai.fine_tuning.jobs.list(metadata={"team": "1"})] == [ids[1]]
    with pytest.raises(openai.BadRequestError) as refused:
        ai.fine_tuning.jobs.list(after="run-gone")
    assert (refused.value.code, refused.value.param) == ("unknown_cursor", "after")
    assert client.get("/v1/fine_tuning/jobs", params={"limit": 1}).json()["last_id"] == ids[0]
