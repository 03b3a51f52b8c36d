"""JSON documents among the blobs."""

from __future__ import annotations

import pytest

from shared.domain.errors import FailureClass, PermanentFailure, Problem
from shared.ports import Services
from shared.records.blob_documents import read_model, write_model

PATH = "runs/run-1/problem.json"


def test_a_document_comes_back_as_it_was_written(services: Services) -> None:
    problem = Problem(code="c", message="m", param="p")
    assert read_model(services.blobs, PATH, Problem) is None
    write_model(services.blobs, PATH, problem)
    assert read_model(services.blobs, PATH, Problem) == problem


def test_what_does_not_fit_is_a_failure_of_code_and_is_not_quoted(services: Services) -> None:
    services.blobs.write(PATH, [b'{"code": 5, "message": "a secret row"}'])
    with pytest.raises(PermanentFailure, match=r"unreadable_document: problem\.json has 1 fields") as failed:
        read_model(services.blobs, PATH, Problem)
    assert failed.value.failure_class is FailureClass.CODE
    assert "secret" not in str(failed.value)
