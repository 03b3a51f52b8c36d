"""`/v1/files`: uploads that wait for a fine-tuning job. They lie in the drop zone where nothing starts a run."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.datastructures import UploadFile

from functions.http.errors import ApiError
from functions.http.openai.pages import page
from functions.http.runs import Operator, Reader
from shared.domain import paths
from shared.records import api_objects
from shared.services import services

router = APIRouter(prefix="/files")

FILE = "file"
FOLDER = f"{paths.DATASETS}/_files"
PURPOSE = "fine-tune"
FIELDS = {"file", "purpose"}
CHUNK_BYTES = 1024 * 1024
# Its form is what the validator goes by; the rest of a name may be anything.
FORM = re.compile(r"(\.[a-z0-9]+)?\.[a-z0-9]+$")


@router.post("")
async def create_file(request: Request, _: Operator) -> dict[str, Any]:
    async with request.form() as form:
        unknown = sorted(set(form) - FIELDS)
        if unknown:
            raise ApiError(400, "unknown_parameter", f"{unknown[0]} is not supported", unknown[0])
        if form.get("purpose") != PURPOSE:
            raise ApiError(400, "unsupported_purpose", f"purpose must be {PURPOSE}", "purpose")
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise ApiError(400, "no_file", "send the file as a part of its own, with a name", "file")
        return await run_in_threadpool(_keep, upload.filename or "upload.jsonl", upload.file)


@router.get("")
def list_files(
    _: Reader,
    purpose: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    after: str | None = None,
    order: Literal["desc"] = "desc",
) -> dict[str, Any]:
    """Newest first; the store keeps no other order."""
    files = api_objects.every(services().store, FILE, **({"purpose": purpose} if purpose else {}))
    return page(files, limit, after)


@router.get("/{file_id}")
def get_file(file_id: str, _: Reader) -> dict[str, Any]:
    return find_file(file_id)


@router.get("/{file_id}/content")
def get_content(file_id: str, _: Reader) -> StreamingResponse:
    find_file(file_id)
    return StreamingResponse(content(file_id), media_type="application/octet-stream")


@router.delete("/{file_id}")
def delete_file(file_id: str, _: Operator) -> dict[str, Any]:
    """Jobs that were made of it have copies."""
    find_file(file_id)
    api_objects.delete(services().store, FILE, file_id)
    services().blobs.delete(_path(file_id))
    return {"id": file_id, "object": FILE, "deleted": True}


def find_file(file_id: str, param: str = "file_id") -> dict[str, Any]:
    """The file object. Raises ApiError 404."""
    file = api_objects.load(services().store, FILE, file_id) if re.fullmatch("file-[0-9a-f]+", file_id) else None
    if file is None:
        raise ApiError(404, "file_not_found", f"no file {file_id}", param)
    return file


def content(file_id: str) -> Iterator[bytes]:
    return services().blobs.read(_path(file_id))


def form_of(file: dict[str, Any]) -> str:
    """`.jsonl`, `.jsonl.gz`, `.csv`."""
    found = FORM.search(file["filename"].lower())
    return found.group() if found else ".jsonl"


def _keep(name: str, upload: BinaryIO) -> dict[str, Any]:
    file_id = f"file-{uuid.uuid4().hex[:24]}"
    info = services().blobs.write(_path(file_id), iter(lambda: upload.read(CHUNK_BYTES), b""))
    now = services().clock.now()
    file = {
        "id": file_id,
        "object": FILE,
        "bytes": info.size_bytes,
        "created_at": int(now.timestamp()),
        "filename": name,
        "purpose": PURPOSE,
        "status": "processed",
        "status_details": None,
        "expires_at": None,
    }
    api_objects.create(services().store, FILE, file_id, file, now, purpose=PURPOSE)
    return file


def _path(file_id: str) -> str:
    return f"{FOLDER}/{file_id}"
