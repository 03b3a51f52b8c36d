"""`/api/datasets` and `/api/recipes`: files into the drop zone, and what a recipe may say."""

import hashlib
import re
import unicodedata

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from functions.http.auth import Caller, CurrentServices, Operator, Reader
from functions.http.errors import ApiError
from shared.api.models import SchemaDocument, StoredFile
from shared.domain import paths
from shared.domain.drop_zone import starts_a_run
from shared.domain.recipe import Recipe, is_name
from shared.ports import BlobInfo, Services
from shared.records import uploads

router = APIRouter(prefix="/api", tags=["datasets"])

FILE_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")


def proposed_name(name: str) -> str:
    """A name that may be, as like this one as possible."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", plain)[-120:].lstrip("_-")
    return plain if plain[:1].isalnum() else f"data{plain}"


@router.put("/datasets/{project}/{name}", status_code=201)
async def put_dataset(
    project: str, name: str, request: Request, access: Operator, services: CurrentServices
) -> StoredFile:
    """Write a file of a project into the drop zone; a dataset starts a run, as any blob there does."""
    if not is_name(project):
        message = "a project's name has 3 to 32 letters (a to z), digits and single dashes and begins with a letter"
        raise ApiError(400, "project_name", message, "project")
    if not FILE_NAME.match(name):
        message = (
            "a file's name begins with a letter (a to z) or digit, has no others than these, dot, dash and underscore, "
            f"and at most 128 characters: rename it, for example to {proposed_name(name)}"
        )
        raise ApiError(400, "file_name", message, "name")
    access.require(project)
    body, path = await request.body(), f"{paths.DATASETS}/{project}/{name}"
    info = await run_in_threadpool(_write, path, body, access.caller, services)
    run_id = paths.run_id_of_blob(info.path, info.etag) if starts_a_run(path) else None
    return StoredFile(path=info.path, etag=info.etag, size_bytes=info.size_bytes, run_id=run_id)


def _write(path: str, body: bytes, caller: Caller, services: Services) -> BlobInfo:
    store, now, sha256 = services.store, services.clock.now(), hashlib.sha256(body).hexdigest()
    if (by := caller.uploader) is None:
        return services.blobs.write(path, [body])
    uploads.record(store, path, "", sha256, by, now, ttl_s=uploads.ANNOUNCED_S)
    try:
        info = services.blobs.write(path, [body])
        uploads.record(store, path, info.etag, sha256, by, now)
    finally:
        uploads.withdraw(store, path, sha256)
    return info


@router.get("/recipes/schema")
def recipe_schema(_: Reader) -> SchemaDocument:
    """JSON schema of `recipe.yaml`."""
    return SchemaDocument(Recipe.model_json_schema())
