"""`/api/runs/{id}/preview`: training rows as the base model reads them, and the tokens that loss falls on.

Rendered when asked for: a row's text is in the curated version and in no report.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query

from functions.http.auth import CurrentServices, Reader
from functions.http.errors import ApiError, existing
from functions.http.run_queries import find_run
from shared.api.models import Preview
from shared.base_models.bundles import base_bundle
from shared.domain import paths
from shared.domain.errors import BlobNotFound
from shared.domain.tokens import PreviewRow
from shared.records.blob_documents import reading
from shared.rendering.bundle import Bundle
from shared.rendering.facts import preview_rows

router = APIRouter(prefix="/api/runs", tags=["runs"])


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
            read = list(map(orjson.loads, itertools.islice(lines, rows)))
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
