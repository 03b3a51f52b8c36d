"""Files that the app serves as they are, with an etag each. All are read whole: no path of a request reaches a disk.

`/`: the dashboard, plain files without a build step, public; every datum comes from the API. `/api/docs`: Swagger UI
over `/api/openapi.json`, served from this machine alone.
"""

import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from functions.http.errors import existing

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


@cache
def read_files(*folders: Path) -> dict[str, tuple[bytes, str]]:
    """The folders' files of a known type by name, each with its etag; of two the later folder's. Read when asked for:
    Swagger UI is 1.9 MB, and most processes never serve it."""
    found = {file.name: file for folder in folders for file in folder.iterdir() if file.suffix in TYPES}
    contents = {name: file.read_bytes() for name, file in found.items()}
    return {name: (content, f'"{hashlib.sha256(content).hexdigest()[:32]}"') for name, content in contents.items()}


def serve(router: APIRouter, page: str, part: str, content_security_policy: str, *folders: Path) -> None:
    """Routes of index.html, and below `part` of each file by its name; 304 if the browser has it."""

    @router.get(page)
    @router.get(f"{part}/{{name}}")
    def file(request: Request, if_none_match: Annotated[str, Header()] = "") -> Response:
        name = request.path_params.get("name", "index.html")
        content, etag = existing(read_files(*folders).get(name), "not_found", f"no part {name}", "name")
        headers = {**HEADERS, "Content-Security-Policy": content_security_policy, "ETag": etag}
        # A proxy that compresses makes our etag a weak one.
        if etag in {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=TYPES[Path(name).suffix], headers=headers)


_HERE, _SWAGGER_UI = Path(__file__).parent, Path(str(files("fastapi_swagger"))) / "resources"
serve(router, "/api/docs", "/api/docs", DOCS_POLICY, _SWAGGER_UI, _HERE / "docs_page")
serve(router, "/", "/static", DASHBOARD_POLICY, _HERE / "static")
