"""The result of a job."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from annotated_types import MaxLen
from pydantic import AfterValidator, BaseModel, ValidationError
from pydantic.fields import FieldInfo

from shared.domain.errors import FailureClass, Problem
from shared.domain.evaluation import EvaluationResult
from shared.domain.model import MAX_ITEMS, MAX_TEXT
from shared.domain.results import JobMetrics, JobResult, seconds_spent

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROBLEM = Problem(code="x", message="y")


@pytest.mark.parametrize(
    ("spent", "curve", "expected"),
    [
        ('{"seconds": 12.5}', "", 12.5),
        ('{\n  "seconds": 1200\n}', '{"elapsed_s":7.25}\n', 1200),
        ("", '{"elapsed_s":7.25}\n{"step":2,"elapsed_s":9.5}\n{"elapsed', 9.5),
        ("null", '{"elapsed_s":7.25}', 7.25),
        ('{"seconds": ', '{"elapsed_s":7}', 7),
        ('{"seconds": 12', '{"elapsed_s":1234.5}', 1234.5),
        ('{"seconds": -3}', "", 0),
        ('{"seconds": null}', "\0\0", 0),
        ('{"seconds": 1e+3}', "", 1000),
        ("", "", 0),
    ],
)
def test_the_time_of_all_attempts_is_the_most_that_is_left_of_either_file(
    spent: str, curve: str, expected: float
) -> None:
    assert seconds_spent(spent.encode(), curve.encode()) == expected


def test_measures_that_are_no_numbers_of_json_are_left_out() -> None:
    metrics = JobMetrics(measures={"a": 1.0, "b": math.nan, "c": math.inf, "d": None}, eval_loss=math.nan)
    assert (metrics.measures, metrics.eval_loss) == ({"a": 1.0}, None)


@pytest.mark.parametrize(
    ("fields", "is_valid"),
    [
        ({"status": "completed"}, True),
        ({"status": "failed", "failure_class": FailureClass.DATA, "problem": PROBLEM}, True),
        ({"status": "failed"}, False),
        ({"status": "failed", "problem": PROBLEM}, False),
        ({"status": "failed", "failure_class": FailureClass.DATA}, False),
        ({"status": "completed", "problem": PROBLEM}, False),
        ({"status": "completed", "failure_class": FailureClass.DATA, "problem": PROBLEM}, False),
        ({"status": "stopped"}, False),
    ],
)
def test_a_failed_job_and_no_other_says_why(fields: dict[str, Any], is_valid: bool) -> None:
    if is_valid:
        assert JobResult(job="j", finished_at=NOW, **fields).status == fields["status"]
    else:
        with pytest.raises(ValidationError):
            JobResult(job="j", finished_at=NOW, **fields)


def uncapped(annotation: Any, metadata: Iterable[Any], where: str) -> Iterator[str]:
    """The texts, lists and maps of a model that have no limit."""
    if get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        metadata = [*metadata, *more, *(limit for one in more if isinstance(one, FieldInfo) for limit in one.metadata)]
    limited = any(isinstance(one, AfterValidator | MaxLen) for one in metadata)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield from uncapped(field.annotation, field.metadata, f"{where}.{name}")
    elif get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from uncapped(part, metadata, where)
    elif annotation is str or get_origin(annotation) in (tuple, list, dict):
        if not limited:
            yield where
        for part in get_args(annotation):
            yield from uncapped(part, (), f"{where}[]")


def test_every_text_list_and_map_of_a_job_that_becomes_a_part_of_the_run_has_a_limit() -> None:
    assert [*uncapped(JobResult, (), "result"), *uncapped(EvaluationResult, (), "evaluation")] == []
    assert list(uncapped(dict[str, tuple[str, ...]], (), "x")) == ["x", "x[]", "x[]", "x[][]"]


def test_of_what_a_job_says_too_much_of_the_first_is_kept() -> None:
    metrics = JobMetrics(diagnosis=("x" * 10_000,) * 1000, measures={f"{n:05}" + "x" * 900: 1.0 for n in range(1000)})
    assert (len(metrics.diagnosis), len(metrics.measures)) == (MAX_ITEMS, MAX_ITEMS)
    assert len(metrics.model_dump_json()) < 2.2 * MAX_ITEMS * MAX_TEXT
