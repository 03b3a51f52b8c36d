"""Runs in the store: each is one document, in the partition of its id. The runner alone writes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.run import Run, Status
from shared.ports import Document, RunStore, Write
from shared.records.query import pages, readable

RUN = "run"


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run with the etag of the version read."""

    run: Run
    etag: str


def document_of(run: Run) -> Document:
    """The stored form. Top-level fields are copies that the store filters by."""
    return {
        "id": RUN,
        "type": RUN,
        "run_id": run.id,
        "project": run.project,
        "revision": run.revision,
        "status": run.status.value,
        "finished": int(run.terminal),
        "created_at": run.created_at.isoformat(),
        "run": run.model_dump(mode="json"),
    }


def run_of(document: Document) -> Run:
    """The run of a document in that form. Raises PermanentFailure `unreadable_document` (class code)."""
    try:
        return Run.model_validate(document["run"])
    except (KeyError, ValidationError) as error:
        # The error count only: a message may quote the document, and documents may quote rows.
        count = error.error_count() if isinstance(error, ValidationError) else "all"
        message = f"{count} fields of the stored run do not fit this version: `droptune dlq list` shows the way out"
        raise PermanentFailure(FailureClass.CODE, "unreadable_document", message, document.get("run_id")) from error


def creation(run: Run) -> Write:
    """The write that fails if the run exists."""
    return Write("create", RUN, document_of(run))


def replacement(run: Run, etag: str) -> Write:
    """The write that fails if the run is not in the version of this etag."""
    return Write("replace", RUN, document_of(run), etag=etag)


def read(store: RunStore, run_id: str) -> StoredRun | None:
    """The run with its etag; None if there is no such run. Raises as `run_of`."""
    stored = store.get(run_id, RUN)
    return StoredRun(run_of(stored.document), stored.etag) if stored else None


def load(store: RunStore, run_id: str) -> Run | None:
    """The run; None if there is no such run."""
    found = read(store, run_id)
    return found.run if found else None


def exists(store: RunStore, run_id: str) -> bool:
    return store.get(run_id, RUN) is not None


def unfinished(store: RunStore) -> Iterator[Run]:
    """Every run in a status that is not terminal."""
    return readable(pages(store, RUN, {"finished": 0}), run_of)


def with_status(store: RunStore, status: Status) -> Iterator[Run]:
    return readable(pages(store, RUN, {"status": status.value}), run_of)


def next_in_turn(store: RunStore) -> dict[str, Run]:
    """Of the runs that wait to be evaluated, the one that has waited longest, by endpoint."""
    waiting = sorted(with_status(store, Status.TRAINED), key=lambda run: (run.updated_at, run.id), reverse=True)
    return {run.recipe.endpoint: run for run in waiting if run.recipe is not None}


def of_project(store: RunStore, project: str) -> Iterator[Run]:
    """Newest first."""
    return readable(pages(store, RUN, {"project": project}), run_of)


def page(
    store: RunStore,
    *,
    project: str | None = None,
    status: Status | None = None,
    limit: int = 100,
    after: str | None = None,
) -> tuple[list[Run], str | None]:
    """Up to `limit` runs, newest first, and the cursor of the next page (None at the end)."""
    filters = {"project": project, "status": status.value if status else None}
    equals: dict[str, str | int] = {key: value for key, value in filters.items() if value is not None}
    found, cursor = store.query(RUN, equals, limit=limit, after=after)
    return list(readable(found, run_of)), cursor


def last_deployed(store: RunStore, project: str) -> Run | None:
    """The project's newest run in status `deployed`; None if there is no such run."""
    found, _ = page(store, project=project, status=Status.DEPLOYED, limit=1)
    return found[0] if found else None


def count_children(store: RunStore, run: Run) -> int:
    """How many runs name this one as their parent. Runs older than it are not read."""
    count = 0
    for other in of_project(store, run.project):
        if other.created_at < run.created_at:
            break
        count += other.parent_run == run.id
    return count
