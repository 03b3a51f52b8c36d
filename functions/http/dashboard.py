"""`/`: the dashboard, plain files without a build step. The page is public; every datum comes from the API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Response

from functions.http.errors import ApiError
from functions.http.static_files import answer, read_files

router = APIRouter(include_in_schema=False)

# Trusted types make the browser itself refuse innerHTML: training text can never become markup.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
FILES = read_files(Path(__file__).with_name("static"))


@router.get("/")
def page(if_none_match: Annotated[str, Header()] = "") -> Response:
    return answer(FILES["index.html"], if_none_match, CONTENT_SECURITY_POLICY)


@router.get("/static/{name}")
def part(name: str, if_none_match: Annotated[str, Header()] = "") -> Response:
    if name not in FILES:
        raise ApiError(404, "not_found", f"no part {name}", "name")
    return answer(FILES[name], if_none_match, CONTENT_SECURITY_POLICY)
