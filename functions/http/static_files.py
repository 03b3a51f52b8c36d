"""Files that the app serves as they are, with an etag each. All are read whole: no path of a request reaches a disk.

`/`: the dashboard, plain files without a build step, public; every datum comes from the API. `/api/docs`: Swagger UI
over `/api/openapi.json`, served from this machine alone.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as files_of
from importlib.resources.abc import Traversable
from pathlib import Path, PurePath
from typing import Annotated

from fastapi import APIRouter, Header, Response

from functions.http.errors import ApiError

router = APIRouter(include_in_schema=False)

_SAME_SITE = "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
# Trusted types make the browser itself refuse innerHTML: training text can never become markup.
DASHBOARD_POLICY = f"default-src 'self'; {_SAME_SITE}; require-trusted-types-for 'script'; trusted-types 'none'"
# Swagger UI draws its icons from `data:` addresses and sets style attributes.
DOCS_POLICY = f"default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; {_SAME_SITE}"
# A function app's image need not have a mime.types, so the types are ours.
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
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


def read_files(folder: Traversable) -> dict[str, StaticFile]:
    """The folder's files of a known type, by name."""
    names = sorted(each.name for each in folder.iterdir())
    return {name: _read(folder / name, suffix) for name in names if (suffix := PurePath(name).suffix) in TYPES}


def _read(file: Traversable, suffix: str) -> StaticFile:
    content = file.read_bytes()
    return StaticFile(content, TYPES[suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def serve(page: str, part: str, files: Callable[[], Mapping[str, StaticFile]], content_security_policy: str) -> None:
    """Routes of index.html, and below `part` of each file by its name."""

    @router.get(page)
    def index(if_none_match: Annotated[str, Header()] = "") -> Response:
        return answer(files()["index.html"], if_none_match, content_security_policy)

    @router.get(f"{part}/{{name}}")
    def by_name(name: str, if_none_match: Annotated[str, Header()] = "") -> Response:
        if name not in files():
            raise ApiError(404, "not_found", f"no part {name}", "name")
        return answer(files()[name], if_none_match, content_security_policy)


def answer(file: StaticFile, if_none_match: str, content_security_policy: str) -> Response:
    """The file, or 304 if the browser has it."""
    headers = {**HEADERS, "Content-Security-Policy": content_security_policy, "ETag": file.etag}
    # A proxy that compresses makes our etag a weak one.
    known = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    if file.etag in known:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)


@cache
def _dashboard() -> dict[str, StaticFile]:
    return read_files(Path(__file__).with_name("static"))


@cache
def _docs() -> dict[str, StaticFile]:
    """They are 1.9 MB, and most processes never serve them."""
    own = read_files(Path(__file__).with_name("docs_page"))
    return {**read_files(files_of("fastapi_swagger") / "resources"), **own}


serve("/api/docs", "/api/docs", _docs, DOCS_POLICY)
serve("/", "/static", _dashboard, DASHBOARD_POLICY)
