"""`/api/runs/{id}/evaluation`: scores and verdict, and the held-out rows behind them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

import orjson
from fastapi import APIRouter, Query

from functions.http.errors import ApiError
from functions.http.runs import Reader, find_run
from shared.domain import paths
from shared.domain.errors import BlobNotFound
from shared.domain.evaluation import GradedRow, SampleAnswer
from shared.services import services

router = APIRouter(prefix="/api/runs", tags=["runs"])

Change = Literal["worse", "better", "same", "unscored"]


@router.get("/{run_id}/evaluation")
def get_evaluation(run_id: str, _: Reader) -> dict[str, Any]:
    """Scores, verdict and sample answers."""
    run = find_run(run_id)
    if run.evaluation is None:
        raise ApiError(404, "no_evaluation", "the run has not been evaluated yet", run_id)
    return {
        "result": run.evaluation.model_dump(mode="json"),
        "verdict": run.verdict.model_dump(mode="json") if run.verdict else None,
        "samples": [sample.model_dump(mode="json") for sample in _samples(run_id)],
    }


@router.get("/{run_id}/evaluation/rows")
def get_rows(
    run_id: str,
    _: Reader,
    change: Change | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[int, Query(ge=0)] = 0,
) -> dict[str, Any]:
    """Judged rows in order, with every model's answer; `change`: from the model it would replace to the candidate, or
    `unscored` where a judge left the row without a score.

    `counts`: rows by change. `after` is the number of the last row seen; `next` is what to give there for the
    following page, null at the end.
    """
    find_run(run_id)
    try:
        every = [(_change(row), row) for row in _rows(run_id)]
    except BlobNotFound as error:
        raise ApiError(404, "no_evaluation", "the rows of this evaluation are not there", run_id) from error
    page = [row for kind, row in every if change in (None, kind) and row.row > after][: limit + 1]
    return {
        "data": [row.model_dump(mode="json") for row in page[:limit]],
        "counts": {kind: sum(kind == each for each, _ in every) for kind in get_args(Change)},
        "next": page[limit - 1].row if len(page) > limit else None,
    }


def _change(row: GradedRow) -> Change:
    if row.unscored:
        return "unscored"
    return "worse" if row.change < 0 else "better" if row.change > 0 else "same"


def _rows(run_id: str) -> Iterator[GradedRow]:
    text = b"".join(services().blobs.read(paths.run(run_id, "evaluation/rows.jsonl")))
    return (GradedRow.model_validate_json(line) for line in text.splitlines())


def _samples(run_id: str) -> list[SampleAnswer]:
    try:
        text = b"".join(services().blobs.read(paths.run(run_id, "evaluation/samples.json")))
    except BlobNotFound:
        return []
    return [SampleAnswer.model_validate(sample) for sample in orjson.loads(text)]
