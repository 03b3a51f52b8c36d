"""The page where an expert decides row by row, served to this machine only, and the file that decisions go to."""

import os
import secrets
import socket
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from pydantic import BaseModel, ValidationError

from cli.common import InputError

SKIPPED, UNDONE = "skipped", "undone"
LOOPBACK = "127.0.0.1"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="of the page; 0 picks a free one")]
Sample = Annotated[int | None, typer.Option("--sample", min=1, help="show so many rows, the same to everybody")]


class ExpertDecision(BaseModel):
    """A line of the file. `row`: hash of its content. `answer`: the corrected one. `preferred`: a rating's model."""

    row: str
    decision: str
    answer: str | None = None
    reason: str | None = None
    preferred: str | None = None
    reviewer: str = ""
    at: datetime | None = None


def content_hash(row: object) -> str:
    """The same whatever the order of keys and the blanks between them."""
    return sha256(orjson.dumps(row, option=orjson.OPT_SORT_KEYS)).hexdigest()


def read_decisions(path: Path) -> list[ExpertDecision]:
    """Each reviewer's last decision on each row, which a later skip leaves. A cut line is named on stderr."""
    latest: dict[tuple[str, str], ExpertDecision] = {}
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else (), start=1):
        try:
            one = ExpertDecision.model_validate_json(line)
        except ValidationError:
            print(f"{path.name}, line {number}: no decision, not read", file=sys.stderr)
            continue
        before = latest.pop((one.row, one.reviewer), None)
        if one.decision != UNDONE:
            latest[one.row, one.reviewer] = before if before and one.decision == SKIPPED else one
    return [*latest.values()]


def sampled(rows: dict[str, Any], count: int | None) -> dict[str, Any]:
    """So many rows in their order, chosen by hash: the same ones for every reviewer, and at each start."""
    chosen = {*sorted(rows)[:count]}
    return {row: rows[row] for row in rows if row in chosen}


@dataclass(frozen=True, slots=True)
class Task:
    """What a page asks one reviewer. `show`: what it shows of a row. `check`: what is written, or raises InputError."""

    rows: Collection[str]
    show: Callable[[str], dict[str, Any]]
    check: Callable[[ExpertDecision], ExpertDecision]
    path: Path
    reviewer: str

    def queue(self) -> dict[str, Any]:
        """The rows in order, and those this reviewer decided, the last decision at the end."""
        known = {one.row: one.decision for one in read_decisions(self.path) if one.reviewer == self.reviewer}
        return {"rows": [*self.rows], "known": [pair for pair in known.items() if pair[0] in self.rows]}

    def decide(self, given: ExpertDecision) -> None:
        """Append a line. It is on the disk when this returns. Raises InputError."""
        if given.row not in self.rows:
            raise InputError("no such row")
        checked = given if given.decision in (SKIPPED, UNDONE) else self.check(given)
        written = checked.model_copy(update={"reviewer": self.reviewer, "at": datetime.now(UTC)})
        line = written.model_dump_json(exclude_none=True).encode() + b"\n"
        with self.path.open("a+b") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            file.write(line if file.read(1) in (b"", b"\n") else b"\n" + line)  # a crash cut the last one
            file.flush()
            os.fsync(file.fileno())


def serve(task: Task, port: int) -> None:
    """Print the page's address and serve it until Ctrl-C."""
    import uvicorn

    token = secrets.token_urlsafe(32)
    try:
        listener = socket.create_server((LOOPBACK, port))
    except OSError as error:
        raise InputError(f"port {port}: {error}") from error
    print(f"http://{LOOPBACK}:{listener.getsockname()[1]}/{token}/   (Ctrl-C ends)", flush=True)
    config = uvicorn.Config(make_app(task, token), log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


def make_app(task: Task, token: str) -> Any:
    """The page and its calls below `/token/`. Handlers are coroutines: one decision ends before the next begins."""
    # No other command needs these, and they cost a fifth of a second.
    from fastapi import FastAPI, HTTPException
    from fastapi.middleware.trustedhost import TrustedHostMiddleware
    from fastapi.staticfiles import StaticFiles

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # A page of another name that resolves to this address (DNS rebinding) sends that name.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"])

    @app.middleware("http")
    async def with_headers(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers.update(HEADERS)
        return response

    @app.get(f"/{token}/rows")
    async def queue() -> dict[str, Any]:
        return task.queue()

    @app.get(f"/{token}/rows/{{row}}")
    async def show(row: str) -> dict[str, Any]:
        return task.show(row) if row in task.rows else {}

    @app.post(f"/{token}/decisions")
    async def decide(given: ExpertDecision) -> None:
        try:
            task.decide(given)
        except InputError as error:
            raise HTTPException(422, str(error)) from error

    app.mount(f"/{token}", StaticFiles(directory=Path(__file__).parent / "static", html=True))
    return app
