"""Upgrades as functions; whole states of earlier versions are in tests/simulation/test_earlier_versions.py."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from pydantic import ValidationError

from shared.domain.dataset import Report
from shared.domain.errors import LaterVersion
from shared.domain.results import JobResult
from shared.domain.run import Run
from shared.domain.upgrades import _STEPS, SCHEMA_VERSION, read_file, upgraded, with_unknown
from shared.ports import Services, Stored
from shared.records.runs import document_of, run_of
from shared.runner import Runner
from tests.unit.shared.support import drop

KINDS = sorted({kind for step in _STEPS for kind in step})
ODD: list[dict[str, Any]] = [{}, {"recipe": None}, {"data": []}, {"jobs": {"stage": 5}}, {"plan": []}]


def test_each_version_has_its_step() -> None:
    assert len(_STEPS) == SCHEMA_VERSION


@pytest.mark.parametrize("content", ODD)
@pytest.mark.parametrize("kind", KINDS)
def test_an_upgrade_changes_nothing_that_it_is_given(kind: str, content: dict[str, Any]) -> None:
    before = deepcopy(content)
    once = upgraded(kind, content, 0)
    assert content == before
    assert upgraded(kind, once, 0) == once  # content without a number may have the present form


@pytest.mark.parametrize("kind", KINDS)
def test_content_of_this_form_is_left_as_it_is_and_of_a_later_one_is_not_touched(kind: str) -> None:
    content = {"recipe": {"recipe": 1}, "data": {"trained_tokens": 1}, "jobs": [{"stage": "x"}], "trained_tokens": 1}
    assert upgraded(kind, content, SCHEMA_VERSION) is content
    for later in (SCHEMA_VERSION + 1, 99):
        with pytest.raises(LaterVersion, match=f"{kind}: schema version {later}"):
            upgraded(kind, content, later)


ITEM = {"a": 1, "new": 2}
KEPT: list[tuple[Any, Any, Any, Any]] = [
    ({"a": 1, "new": 2}, {"a": 1}, {"a": 3}, {"a": 3, "new": 2}),
    ({"a": 1, "new": None}, {"a": 1}, {}, {"new": None}),
    ({"a": {"b": 1, "new": 2}}, {"a": {"b": 1}}, {"a": {"b": 5, "c": 6}}, {"a": {"b": 5, "c": 6, "new": 2}}),
    ({"a": {"b": 1, "new": 2}}, {"a": {"b": 1}}, {"a": None}, {"a": None}),
    ({"shares": {"old": 9}}, {"shares": {"old": 9}}, {"shares": {"young": 9}}, {"shares": {"young": 9}}),
    ([ITEM, ITEM], [{"a": 1}, {"a": 1}], [{"a": 1}, {"a": 1}, {"a": 2}], [ITEM, ITEM, {"a": 2}]),
    ([ITEM, ITEM], [{"a": 1}, {"a": 1}], [{"a": 7}, {"a": 1}], [{"a": 7}, ITEM]),
    ([ITEM, ITEM], [{"a": 1}, {"a": 1}], [], []),
    (ITEM, None, {"a": 1}, {"a": 1}),
    (None, None, [1], [1]),
]


@pytest.mark.parametrize(("stored", "read", "changed", "expected"), KEPT)
def test_what_is_not_known_is_kept_where_its_place_is(stored: Any, read: Any, changed: Any, expected: Any) -> None:
    assert with_unknown(stored, read, changed) == expected


def test_a_run_of_this_version_survives_the_upgrade(services: Services, runner: Runner) -> None:
    run = drop(services, runner, "datasets/shop/train.jsonl")
    assert isinstance(run, Run)
    assert run_of(Stored({**document_of(run), "schema_version": 0}, "1", run.id)) == run


def test_what_a_job_of_an_earlier_version_counted_is_kept() -> None:
    text = (
        b'{"job": "j", "status": "completed", "finished_at": "2026-01-01T00:00:00Z", "last_step": 7, '
        b'"trained_tokens": 5, "train_loss": NaN, "seconds": 1.5}'
    )
    metrics = read_file(JobResult, text).metrics
    assert (metrics.last_step, metrics.processed_tokens, metrics.train_loss, metrics.seconds) == (7, 5, None, 1.5)


@pytest.mark.parametrize("text", [b"", b"{", b"5", b"[]", b"null", b"{}", b"\xff"])
def test_a_file_that_is_no_document_is_a_validation_error(text: bytes) -> None:
    with pytest.raises(ValidationError):
        read_file(Report, text)
