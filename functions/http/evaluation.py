"""`/api/runs/{id}/evaluation`: scores and verdict, and the held-out rows behind them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, get_args

import orjson
from fastapi import APIRouter, Query

from functions.http.auth import Reader
from functions.http.dependencies import CurrentServices
from functions.http.errors import ApiError
from functions.http.run_queries import find_run
from shared.api.models import Change, EvaluationRows, RunEvaluation
from shared.domain import paths
from shared.domain.errors import BlobNotFound
from shared.domain.evaluation import GradedRow, SampleAnswer
from shared.ports import BlobStore

router = APIRouter(prefix="/api/runs", tags=["runs"])


@router.get("/{run_id}/evaluation")
def get_evaluation(run_id: str, _: Reader, services: CurrentServices) -> RunEvaluation:
    """Scores, verdict and sample answers."""
    run = find_run(services, run_id)
    if run.evaluation is None:
        raise ApiError(404, "no_evaluation", "the run has not been evaluated yet", run_id)
    return RunEvaluation(result=run.evaluation, verdict=run.verdict, samples=_samples(services.blobs, run_id))


@router.get("/{run_id}/evaluation/rows")
def get_rows(
    run_id: str,
    _: Reader,
    services: CurrentServices,
    change: Change | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[int, Query(ge=0)] = 0,
) -> EvaluationRows:
    """Graded rows in order, with every model's answer; `change`: from the model it would replace to the candidate, or
    `unscored` where one of the two has no score.

    `counts`: rows by change. `after` is the number of the last row seen; `next` is what to give there for the
    following page, null at the end.
    """
    find_run(services, run_id)
    try:
        every = [(_change(row), row) for row in _rows(services.blobs, run_id)]
    except BlobNotFound as error:
        raise ApiError(404, "no_evaluation", "the rows of this evaluation are not there", run_id) from error
    page = [row for kind, row in every if change in (None, kind) and row.row > after][: limit + 1]
    return EvaluationRows(
        data=tuple(page[:limit]),
        counts={kind: sum(kind == each for each, _ in every) for kind in get_args(Change)},
        next=page[limit - 1].row if len(page) > limit else None,
    )


def _change(row: GradedRow) -> Change:
    if row.change is None:
        return "unscored"
    return "worse" if row.change < 0 else "better" if row.change > 0 else "same"


def _rows(blobs: BlobStore, run_id: str) -> Iterator[GradedRow]:
    text = b"".join(blobs.read(paths.run(run_id, "evaluation/rows.jsonl")))
    return (GradedRow.model_validate_json(line) for line in text.splitlines())


def _samples(blobs: BlobStore, run_id: str) -> tuple[SampleAnswer, ...]:
    try:
        text = b"".join(blobs.read(paths.run(run_id, "evaluation/samples.json")))
    except BlobNotFound:
        return ()
    return tuple(SampleAnswer.model_validate(sample) for sample in orjson.loads(text))
