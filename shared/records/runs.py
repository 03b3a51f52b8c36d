"""Runs in the store: each is one document, in the partition of its id. The runner alone writes them."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from shared.domain.errors import FailureClass, PermanentFailure, UnreadableDocument
from shared.domain.run import PASSED_OVER, Run, Status
from shared.domain.upgrades import upgraded
from shared.ports import Document, RunStore, Stored, Write
from shared.ports.store import cursor_of
from shared.records.document import PAGE, head, pages, put, readable, salvaged_as

RUN = "run"
_QUERIED = ("project", "status", "finished")
_UNKNOWN_REVISION = 10_000  # above any that events were sent of


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run and the document that was read: a later version may have put more into it."""

    run: Run
    stored: Stored


@dataclass(frozen=True, slots=True)
class FoundRuns:
    """Runs of a list, those among them whose documents cannot be read, and the cursor of the next page."""

    runs: tuple[Run, ...]
    unreadable: tuple[UnreadableDocument, ...]
    next: str | None


def document_of(run: Run) -> Document:
    """The stored form. Top-level fields are copies that the store filters by."""
    return {
        **head(RUN),
        "run_id": run.id,
        "project": run.project,
        "revision": run.revision,
        "status": run.status.value,
        "finished": int(run.terminal),
        "created_at": run.created_at.isoformat(),
        "run": run.model_dump(mode="json"),
    }


def run_of(stored: Stored) -> Run:
    """The run of a document in that form or an earlier one.

    Raises PermanentFailure `unreadable_document` (class code), and LaterVersion.
    """
    document = stored.document
    try:
        content = upgraded("run", document["run"], document.get("schema_version"))
        run = Run.model_validate(content, extra="ignore")
        if {document.get("run_id", run.id), stored.partition} != {run.id}:
            raise ValueError("it is another run")
        if run.deadline_at is None and not run.terminal:
            raise ValueError("nothing would end it")
        return run
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        # The error count only: a message may quote the document, and documents may quote rows.
        count = error.error_count() if isinstance(error, ValidationError) else "all"
        run_id = str(document.get("run_id", "RUN"))
        remedy = f"`droptune dlq release {run_id} --id run` keeps what can be read of it"
        message = f"{count} fields of the stored run do not fit this version: {remedy}"
        raise PermanentFailure(FailureClass.CODE, "unreadable_document", message, run_id) from error


def require_copies(stored: Stored) -> None:
    """Raises as `run_of`, and ValueError for a copy that is not as in the run: queries do not find it."""
    copies = document_of(run_of(stored))
    if any(stored.document.get(name) != copies[name] for name in _QUERIED):
        raise ValueError("a copy that queries go by is another")


def salvaged(stored: Stored, status: Status, now: datetime) -> Run:
    """The run with those of its fields that can be read; `status` and `now` where nothing says how far it was."""
    document = stored.document
    content: Any = document.get("run")
    with suppress(Exception):
        content = upgraded("run", content, document.get("schema_version"))
    copies = {name: document.get(name) for name in ("project", "status", "revision", "created_at")}
    dataset = {"path": f"datasets/{document.get('project')}/unknown", "etag": "", "size_bytes": 0, "sha256": ""}
    unknown = {"project": "unknown", "status": status, "revision": _UNKNOWN_REVISION, "created_at": now}
    unknown |= {"updated_at": now, "deadline_at": None, "attempt": 1, "fingerprint": "", "dataset": dataset}
    found = salvaged_as(Run, content, copies, unknown, id=stored.partition)
    assert found is not None
    return found


def ttl_s(run: Run) -> int | None:
    """How long what is stored of a run in this status is kept; None: for ever, as that of a model that went live."""
    ends = run.retention_days > 0 and run.terminal and run.status is not Status.DEPLOYED
    return run.retention_days * 24 * 3600 if ends else None


def creation(run: Run) -> Write:
    """The write that fails if the run exists."""
    return Write("create", RUN, document_of(run), ttl_s=ttl_s(run))


def replacement(run: Run, read: StoredRun) -> Write:
    """The write that fails if the run is not in the version that was read; it keeps fields that are not known here."""
    return put(RUN, document_of(run), read.stored, document_of(read.run), ttl_s=ttl_s(run))


def read(store: RunStore, run_id: str) -> StoredRun | None:
    """The run with its document; None if there is no such run. Raises as `run_of`."""
    stored = store.get(run_id, RUN)
    return StoredRun(run_of(stored), stored) if stored else None


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


def waiting(store: RunStore) -> dict[str, list[Run]]:
    """The runs that wait to be evaluated, by endpoint, those that have waited longest, since their last turn, first."""
    found: dict[str, list[Run]] = {}
    runs = [([n.since for n in r.attention if n.timer == PASSED_OVER], r) for r in with_status(store, Status.TRAINED)]
    for _, run in sorted(runs, key=lambda pair: (max([pair[1].updated_at, *pair[0]]), pair[1].id)):
        if run.recipe is not None:
            found.setdefault(run.recipe.endpoint, []).append(run)
    return found


def page(
    store: RunStore,
    *,
    project: str | None = None,
    status: Status | None = None,
    limit: int = 100,
    after: str | None = None,
    may_see: Callable[[Run], bool] = lambda run: True,
) -> FoundRuns:
    """Up to `limit` runs that may be seen, newest first. The cursor is of the last of them: it tells of no other."""
    filters = {"project": project, "status": status.value if status else None}
    equals: dict[str, str | int] = {key: value for key, value in filters.items() if value is not None}
    read, unreadable, cursor = list[Run](), list[UnreadableDocument](), None
    for stored in pages(store, RUN, equals, after, size=min(PAGE, limit + 1)):
        for run in filter(may_see, readable([stored], run_of, unreadable)):
            if len(read) == limit:
                return FoundRuns(tuple(read), tuple(unreadable), cursor)
            read.append(run)
            cursor = cursor_of(stored.document.get("created_at", ""), RUN, stored.partition)
    return FoundRuns(tuple(read), tuple(unreadable), None)


def are_begun(store: RunStore, project: str, limit: int) -> bool:
    """Whether so many runs of the project wait for validation or training, or are in it."""
    for status in (Status.RECEIVED, Status.VALIDATING, Status.VALIDATED, Status.TRAINING):
        limit -= len(store.query(RUN, {"project": project, "status": status.value}, limit=limit)[0])
        if limit <= 0:
            return True
    return False


def any_of(store: RunStore, project: str) -> bool:
    """Whether the project has a run."""
    return bool(store.query(RUN, {"project": project}, limit=1)[0])


def last_deployed(store: RunStore, project: str) -> Run | None:
    """The project's newest run in status `deployed`; None if there is no such run. Raises as `run_of`."""
    found, _ = store.query(RUN, {"project": project, "status": Status.DEPLOYED.value}, limit=1)
    return run_of(found[0]) if found else None
