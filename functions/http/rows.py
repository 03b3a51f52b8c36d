"""`/api/runs/{id}/evaluation`: scores and verdict, and the held-out rows behind them.
`/api/runs/{id}/preview`: training rows as the base model reads them, and the tokens that loss falls on.

A preview is rendered when asked for: a row's text is in the curated version and in no report.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Annotated, Any, NamedTuple, get_args

import orjson
from fastapi import APIRouter, Query
from pydantic import ConfigDict

from functions.http.auth import CurrentServices, Reader
from functions.http.errors import ApiError, existing
from functions.http.runs import find_run
from shared.api.models import Change, EvaluationRows, Preview, RunEvaluation
from shared.base_models.bundles import base_bundle
from shared.domain import paths
from shared.domain.errors import BlobNotFound
from shared.domain.evaluation import GradedRow, RowScores, SampleAnswer
from shared.domain.tokens import PreviewRow
from shared.domain.upgrades import read_file
from shared.ports import BlobStore
from shared.records.blob_documents import reading
from shared.rendering.bundle import Bundle
from shared.rendering.check import preview_rows

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


@router.get("/{run_id}/preview")
def get_preview(
    run_id: str, access: Reader, services: CurrentServices, rows: Annotated[int, Query(ge=1, le=50)] = 5
) -> Preview:
    """The first rows of the curated training file; `row` is the line there."""
    run = find_run(services, run_id, access)
    if run.curated is None or run.recipe is None:
        raise ApiError(404, "no_preview", "the run has no curated data", run_id)
    base_model = run.recipe.requested.base_model
    message = f"the tokenizer of {base_model} is not here"
    bundle = existing(base_bundle(base_model, services.blobs), "no_tokenizer", message, base_model)
    try:
        with reading(paths.curated(run.curated, "train.jsonl"), PreviewRow):
            lines = _lines(services.blobs.read(paths.curated(run.curated, "train.jsonl")))
            read = list(map(orjson.loads, islice(lines, rows)))
    except BlobNotFound as error:
        raise ApiError(404, "no_preview", "the curated data is no longer there", run_id) from error
    return Preview(data=tuple(text for number, row in enumerate(read, start=1) for text in _shown(bundle, row, number)))


def _shown(bundle: Bundle, row: dict[str, Any], number: int) -> list[PreviewRow]:
    try:
        return preview_rows(bundle, row, file="train", number=number)
    except Exception as error:  # a template may raise anything, and may quote the row while doing so
        message = f"the base model's chat template does not take row {number}: {bundle.template.words_of(error)}"
        raise ApiError(409, "row_not_renderable", message, str(number)) from error


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest
