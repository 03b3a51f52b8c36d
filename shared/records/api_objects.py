"""Objects of the HTTP API that are no runs, such as an uploaded file: one document each, in the partition of its id."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator

from shared.domain.errors import FailureClass, InvalidInput, PermanentFailure, StoreConflict, UnreadableDocument
from shared.domain.model import Lenient, UtcTime
from shared.domain.upgrades import upgraded
from shared.ports import RunStore, Stored, Write
from shared.ports.store import cursor_of
from shared.records.document import head, pages, readable


class ApiObject(Lenient):
    """`kind` is the type of its document. Objects are never changed."""

    kind: ClassVar[str]

    id: str


class File(ApiObject):
    """An uploaded file. `created_at` is in seconds since 1970."""

    kind = "file"

    bytes: int
    created_at: int
    filename: str
    uploaded_by: str = ""


def _with_hyperparameters(method: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(method.get(str(method.get("type")), {}).get("hyperparameters"), dict):
        raise ValueError("a method has a type, and a block of that name with hyperparameters")
    return method


class Job(ApiObject):
    """A fine-tuning job: what was asked for. How it stands is the run's to say; `id` is that of the run."""

    kind = "fine_tuning_job"

    created_at: UtcTime
    model: str
    training_file: str
    validation_file: str | None
    project: str
    method: Annotated[dict[str, Any], AfterValidator(_with_hyperparameters)]
    seed: int
    metadata: dict[str, str] | None


Object = TypeVar("Object", bound=ApiObject)


def tag_of(pair: tuple[str, str]) -> str:
    return hashlib.sha256(json.dumps(pair).encode()).hexdigest()[:32]


def create(store: RunStore, object: ApiObject, created_at: datetime, tags: Iterable[str] = ()) -> None:
    """By a tag `every` finds it without reading others. Raises StoreConflict if the object exists."""
    time = {"created_at": created_at.isoformat()}
    document = {**head(object.kind), **time, "content": object.model_dump(mode="json")}
    ids = {_tagged(object, tag): tag for tag in tags}
    leads = [Write("create", id, {**head(_tagged(object), id), **time, "tag": tag}) for id, tag in ids.items()]
    store.batch(object.id, [Write("create", object.kind, document), *leads])


def load(store: RunStore, model: type[Object], id: str) -> Object | None:
    """The object; None if there is none. Raises PermanentFailure `unreadable_document` (class code), LaterVersion."""
    stored = store.get(id, model.kind)
    try:
        return object_of(stored, model) if stored else None
    except (LookupError, TypeError, AttributeError, ValueError) as error:  # its own text may quote the document
        message = f"the stored {model.kind} does not fit this version: `droptune dlq release {id} --id {model.kind}`"
        raise PermanentFailure(FailureClass.CODE, "unreadable_document", message, id) from error


def every(
    store: RunStore,
    model: type[Object],
    unreadable: list[UnreadableDocument],
    after: str | None = None,
    tag: str | None = None,
) -> Iterator[Object]:
    """Objects, or those with a tag, newest first, those behind one of an id; what cannot be read is named.

    Raises InvalidInput `unknown_cursor` if no object has that id.
    """
    cursor = None
    if after is not None:
        last = store.get(after, model.kind)
        if last is None:
            raise InvalidInput("unknown_cursor", f"the list has no {after}", "after")
        cursor = cursor_of(last.document.get("created_at", ""), _tagged(model, tag) if tag else model.kind, after)
    found = pages(store, _tagged(model), {"tag": tag}, cursor) if tag else pages(store, model.kind, None, cursor)
    if tag:
        found = filter(None, (store.get(lead.partition, model.kind) for lead in found))
    return readable(found, partial(object_of, model=model), unreadable)


def object_of(stored: Stored, model: type[Object]) -> Object:
    """The object in a document. Raises LaterVersion, and an error for what is no object of its id."""
    document = upgraded(model.kind, stored.document, stored.document.get("schema_version"))
    found = model.model_validate(document["content"])
    if found.id != stored.partition:
        raise ValueError("it has the id of another")
    return found


def delete(store: RunStore, model: type[ApiObject], id: str) -> None:
    """Remove an object that has no tags. Absence is fine."""
    with suppress(StoreConflict):  # another process deleted it meanwhile
        store.batch(id, [Write("delete", model.kind)])


def _tagged(object: ApiObject | type[ApiObject], tag: str = "") -> str:
    """The type of the documents that tags lead to, or the id of the one of a tag."""
    return f"{object.kind}_tag.{tag}" if tag else f"{object.kind}_tag"
