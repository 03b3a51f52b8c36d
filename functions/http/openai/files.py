"""`/v1/files`: uploads that wait for a fine-tuning job. They lie in the drop zone where nothing starts a run."""

import hashlib
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, BinaryIO, Literal

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from starlette.datastructures import UploadFile

from functions.http.auth import ADMINISTRATOR, Access, Caller, CurrentServices, Operator, Reader
from functions.http.errors import ApiError, existing
from functions.http.openai.shapes import page, require_cursor
from shared.api.openai import FileDeleted, FileList, FileObject
from shared.domain import paths
from shared.domain.errors import UnreadableDocument
from shared.ports import BlobInfo, RunStore, Services
from shared.records import api_objects, uploads
from shared.records.api_objects import File

router = APIRouter(prefix="/v1/files", tags=["openai"])

FOLDER = f"{paths.DATASETS}/_files"
PURPOSE = "fine-tune"
FIELDS = {"file", "purpose"}
CHUNK_BYTES = 1024 * 1024
WrittenBy = Callable[[str], uploads.Uploaders | None]  # by the hash of what was written
MAX_FILE_NAME = 255
BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
# Its form is what the validator goes by; the rest of a name may be anything.
FORM = re.compile(r"(\.[a-z0-9]+)?\.[a-z0-9]+$")


UPLOAD = {
    "type": "object",
    "required": ["file", "purpose"],
    "additionalProperties": False,
    "properties": {"file": {"type": "string", "format": "binary"}, "purpose": {"const": PURPOSE}},
}


@router.post(
    "", openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": UPLOAD}}}}
)
async def create_file(request: Request, access: Operator, services: CurrentServices) -> FileObject:
    async with request.form() as form:
        unknown = sorted(set(form) - FIELDS)
        if unknown:
            raise ApiError(400, "unknown_parameter", f"{unknown[0]} is not supported", unknown[0])
        if form.get("purpose") != PURPOSE:
            raise ApiError(400, "unsupported_purpose", f"purpose must be {PURPOSE}", "purpose")
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise ApiError(400, "no_file", "send the file as a part of its own, with a name", "file")
        if len(upload.filename or "") > MAX_FILE_NAME:
            raise ApiError(400, "file_name", f"a file's name has at most {MAX_FILE_NAME} characters", "file")
        name = upload.filename or "upload.jsonl"
        return await run_in_threadpool(_keep, services, access.caller, name, upload.file)


@router.get("")
def list_files(
    access: Reader,
    services: CurrentServices,
    purpose: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    after: str | None = None,
    order: Literal["desc"] = "desc",
) -> FileList:
    """Newest first; the store keeps no other order."""
    require_cursor(after, lambda id: find_file(services.store, id, access))
    unreadable: list[UnreadableDocument] = []
    files = (file for file in api_objects.every(services.store, File, unreadable, after) if _may_see(file, access))
    found, place = page(files if purpose in (None, PURPOSE) else (), limit)
    data = tuple(map(FileObject.model_validate, found))
    return FileList(data=data, unreadable=tuple(unreadable if access.allows(None) else ()), **place)


@router.get("/{file_id}")
def get_file(file_id: str, access: Reader, services: CurrentServices) -> FileObject:
    """An uploaded file: name, size and purpose."""
    return FileObject.model_validate(find_file(services.store, file_id, access))


@router.get("/{file_id}/content", response_class=StreamingResponse, responses={200: {"content": BYTES}})
def get_content(file_id: str, access: Reader, services: CurrentServices) -> StreamingResponse:
    """The bytes of an uploaded file."""
    find_file(services.store, file_id, access)
    return StreamingResponse(services.blobs.read(path_of(file_id)), media_type="application/octet-stream")


@router.delete("/{file_id}")
def delete_file(file_id: str, access: Operator, services: CurrentServices) -> FileDeleted:
    """Jobs that were made of it have copies."""
    find_file(services.store, file_id, access)
    api_objects.delete(services.store, File, file_id)
    services.blobs.delete(path_of(file_id))
    return FileDeleted(id=file_id)


def _may_see(file: File, access: Access) -> bool:
    """A file is of no project before a job uses it: it is its uploader's."""
    is_administrator = ADMINISTRATOR in access.caller.roles
    return is_administrator or (file.uploaded_by == access.caller.id if file.uploaded_by else access.allows(None))


def find_file(store: RunStore, file_id: str, access: Access, param: str = "file_id") -> File:
    """The file. Raises ApiError 404, also for one of another person."""
    file = api_objects.load(store, File, file_id) if re.fullmatch("file-[0-9a-f]+", file_id) else None
    return existing(file if file and _may_see(file, access) else None, "file_not_found", f"no file {file_id}", param)


def form_of(file: File) -> str:
    """`.jsonl`, `.jsonl.gz`, `.csv`."""
    found = FORM.search(file.filename.lower())
    return found.group() if found else ".jsonl"


def write(
    services: Services, path: str, chunks: Iterable[bytes], by: WrittenBy, *, if_absent: bool = False
) -> BlobInfo:
    """Write a blob where none starts a run by being there, and note whose its content is, if that is known."""
    digest = hashlib.sha256()

    def hashed() -> Iterator[bytes]:
        for chunk in chunks:
            digest.update(chunk)
            yield chunk

    info = services.blobs.write(path, hashed(), if_absent=if_absent)
    if (known := by(sha256 := digest.hexdigest())) is not None:
        uploads.record(services.store, path, info.etag, sha256, known, services.clock.now())
    return info


def _keep(services: Services, caller: Caller, name: str, upload: BinaryIO) -> FileObject:
    file_id = f"file-{uuid.uuid4().hex[:24]}"
    info = write(services, path_of(file_id), iter(lambda: upload.read(CHUNK_BYTES), b""), lambda _: caller.uploader)
    now = services.clock.now()
    file = File(
        id=file_id, bytes=info.size_bytes, created_at=int(now.timestamp()), filename=name, uploaded_by=caller.id
    )
    api_objects.create(services.store, file, now)
    return FileObject.model_validate(file)


def path_of(file_id: str) -> str:
    return f"{FOLDER}/{file_id}"
