"""`/api/docs`: Swagger UI over `/api/openapi.json`, served from this machine alone."""

from functools import cache
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter

from functions.http.static_files import StaticFile, read_files, serve

router = APIRouter(prefix="/api/docs", include_in_schema=False)

# Swagger UI draws its icons from `data:` addresses and sets style attributes.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


@cache
def _files() -> dict[str, StaticFile]:
    """Read when the page is first asked for: they are 1.9 MB, and most processes never serve them."""
    return {**read_files(files("fastapi_swagger") / "resources"), **read_files(Path(__file__).with_name("docs_page"))}


serve(router, "", "", _files, CONTENT_SECURITY_POLICY)
