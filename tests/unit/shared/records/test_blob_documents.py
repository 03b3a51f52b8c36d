"""JSON documents among the blobs."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel

from shared.domain.dataset import CuratedVersion, ValidationOutcome
from shared.domain.errors import FailureClass, PermanentFailure, Problem
from shared.domain.evaluation import EvaluationResult
from shared.domain.results import JobResult
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


ODD_VALUES: list[object] = [None, 5, "x", [1], [[]], [{"field": "x"}], {}, {"x": []}, [{"champion": None}]]
MODELS = [JobResult, EvaluationResult, CuratedVersion, ValidationOutcome]


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("value", ODD_VALUES, ids=str)
def test_whatever_stands_in_a_field_the_document_is_read_or_unreadable(
    services: Services, model: type[BaseModel], value: object
) -> None:
    names = [*model.model_fields, "holdout", "group", "eval_source"]
    for name in names:
        services.blobs.write(PATH, [json.dumps({**{key: {} for key in names}, name: value}).encode()])
        with pytest.raises(PermanentFailure, match="unreadable_document"):
            read_model(services.blobs, PATH, model)
