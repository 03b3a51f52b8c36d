"""`/api/runs/{id}/evaluation`: scores and verdict, and the held-out rows behind them."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, NamedTuple, get_args

import orjson
from fastapi import APIRouter, Query
from pydantic import ConfigDict

from functions.http.auth import CurrentServices, Reader
from functions.http.errors import existing
from functions.http.run_queries import find_run
from shared.api.models import Change, EvaluationRows, RunEvaluation
from shared.domain import paths
from shared.domain.errors import BlobNotFound
from shared.domain.evaluation import GradedRow, RowScores, SampleAnswer
from shared.domain.upgrades import read_file
from shared.ports import BlobStore
from shared.records.blob_documents import reading

router = APIRouter(prefix="/api/runs", tags=["runs"])


@router.get("/{run_id}/evaluation")
def get_evaluation(run_id: str, access: Reader, services: CurrentServices) -> RunEvaluation:
    """Scores, verdict and sample answers."""
    run = find_run(services, run_id, access)
    result = existing(run.evaluation, "no_evaluation", "the run has not been evaluated yet", run_id)
    return RunEvaluation(result=result, verdict=run.verdict, samples=_samples(services.blobs, run_id))


@router.get("/{run_id}/evaluation/rows")
def get_rows(
    run_id: str,
    access: Reader,
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
    find_run(services, run_id, access)
    path = paths.run(run_id, "evaluation/rows.jsonl")
    message = "the rows of this evaluation are not there"
    blob = existing(services.blobs.info(path), "no_evaluation", message, run_id)
    with reading(path, GradedRow):
        # mypy does not see that an object of a Protocol has a hash.
        every = row_places(services.blobs, path, blob.etag)  # type: ignore[arg-type]
        page = [place for place in every if change in (None, place.change) and place.row > after][: limit + 1]
        data = _read(services.blobs, path, blob.etag, page[:limit])
    counts = Counter(place.change for place in every)
    return EvaluationRows(
        data=data,
        counts={kind: counts[kind] for kind in get_args(Change)},
        next=page[limit - 1].row if len(page) > limit else None,
    )


class RowPlace(NamedTuple):
    """A line of `rows.jsonl`, in bytes from the start of the file."""

    row: int
    change: Change
    start: int
    end: int


class _Line(RowScores):
    model_config = ConfigDict(extra="ignore")


@lru_cache(maxsize=4)
def row_places(blobs: BlobStore, path: str, etag: str) -> tuple[RowPlace, ...]:
    """Every row's place. A version of the file is read for it once, and of its rows the scores only."""
    places, start = [], 0
    for line in b"".join(blobs.read(path, etag=etag)).splitlines(keepends=True):
        scores = _Line.model_validate_json(line)
        places.append(RowPlace(scores.row, _change(scores), start, start + len(line)))
        start += len(line)
    return tuple(places)


def _change(row: RowScores) -> Change:
    if row.change is None:
        return "unscored"
    return "worse" if row.change < 0 else "better" if row.change > 0 else "same"


def _read(blobs: BlobStore, path: str, etag: str, places: Sequence[RowPlace]) -> tuple[GradedRow, ...]:
    """The rows at these places. Reading ends with the last of them."""
    text = bytearray()
    for chunk in blobs.read(path, etag=etag) if places else ():
        text += chunk
        if len(text) >= places[-1].end:
            break
    return tuple(read_file(GradedRow, bytes(text[place.start : place.end])) for place in places)


def _samples(blobs: BlobStore, run_id: str) -> tuple[SampleAnswer, ...]:
    path = paths.run(run_id, "evaluation/samples.json")
    try:
        text = b"".join(blobs.read(path))
    except BlobNotFound:
        return ()
    with reading(path, SampleAnswer):
        return tuple(map(SampleAnswer.model_validate, orjson.loads(text)))
