"""OpenAI's own client against the API, unchanged but for its base URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from tests.unit.functions.http.openai.support import create
from tests.unit.functions.http.support import asking_as
from tests.unit.shared.support import ROW

if TYPE_CHECKING:
    from openai import OpenAI


def test_what_is_not_built_is_refused_not_ignored(ai: OpenAI, training: str) -> None:
    import openai

    job = create(ai, training)
    with pytest.raises(openai.NotFoundError) as refused:
        ai.fine_tuning.jobs.pause(job.id)
    assert (refused.value.code, refused.value.type) == ("not_found", "invalid_request_error")


def test_a_reader_may_look_and_not_order(ai: OpenAI, training: str, client: TestClient) -> None:
    import openai

    with asking_as(client, "local", "reader"):  # who uploaded it
        assert ai.files.retrieve(training).id == training
        for order in (
            lambda: create(ai, training),
            lambda: ai.files.delete(training),
            lambda: ai.files.create(file=("train.jsonl", ROW), purpose="fine-tune"),
        ):
            with pytest.raises(openai.PermissionDeniedError) as refused:
                order()
            assert (refused.value.code, refused.value.type) == ("role_needed", "permission_error")


def test_errors_of_the_other_routes_keep_their_form(client: TestClient) -> None:
    assert set(client.get("/api/runs/run-0").json()["error"]) == {"code", "message", "param"}
