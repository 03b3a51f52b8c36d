"""`/`: the dashboard, plain files without a build step. The page is public; every datum comes from the API."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Response

from functions.http.errors import ApiError

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).with_name("static")
# A function app's image need not have a mime.types, so the types are ours.
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    # Trusted types make the browser itself refuse innerHTML: training text can never become markup.
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    content: bytes
    media_type: str
    etag: str


def _read(path: Path) -> StaticFile:
    content = path.read_bytes()
    return StaticFile(content, TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


# All are read at start, so that no path of a request ever reaches the file system.
FILES = {path.name: _read(path) for path in sorted(FOLDER.iterdir()) if path.suffix in TYPES}


@router.get("/")
def page(if_none_match: Annotated[str, Header()] = "") -> Response:
    return _answer(FILES["index.html"], if_none_match)


@router.get("/static/{name}")
def part(name: str, if_none_match: Annotated[str, Header()] = "") -> Response:
    if name not in FILES:
        raise ApiError(404, "not_found", f"no part {name}", "name")
    return _answer(FILES[name], if_none_match)


def _answer(file: StaticFile, if_none_match: str) -> Response:
    headers = {**HEADERS, "ETag": file.etag}
    # A proxy that compresses makes our etag a weak one.
    known = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    if file.etag in known:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)
