"""`/api/docs`: Swagger UI over `/api/openapi.json`, served from this machine alone."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Response

from functions.http.errors import ApiError
from functions.http.static_files import StaticFile, answer, read_files

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


@router.get("")
def page(if_none_match: Annotated[str, Header()] = "") -> Response:
    return answer(_files()["index.html"], if_none_match, CONTENT_SECURITY_POLICY)


@router.get("/{name}")
def part(name: str, if_none_match: Annotated[str, Header()] = "") -> Response:
    if name not in _files():
        raise ApiError(404, "not_found", f"no part {name}", "name")
    return answer(_files()[name], if_none_match, CONTENT_SECURITY_POLICY)
