"""Files that the app serves as they are, with an etag each. All are read whole: no path of a request reaches a disk."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, Header, Response

from functions.http.errors import ApiError

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


def serve(
    router: APIRouter, page: str, part: str, files: Callable[[], Mapping[str, StaticFile]], content_security_policy: str
) -> None:
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
