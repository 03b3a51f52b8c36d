"""The port for documents."""

import base64
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from shared.domain.errors import InvalidInput

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stored:
    """A document with the etag of the version read and the partition it lies in."""

    document: Document
    etag: str
    partition: str


@dataclass(frozen=True, slots=True)
class Write:
    """One operation of a transactional batch inside a logical partition.

    `etag`: create requires absence (None); replace and delete require the given etag, or presence
    only when it is None. `ttl_s`: the document disappears after this many seconds.
    """

    kind: Literal["create", "replace", "delete"]
    id: str
    document: Document | None = None
    etag: str | None = None
    ttl_s: int | None = None


class RunStore(Protocol):
    """Documents in logical partitions, as Cosmos DB has them.

    A document has a string `type` (used by `query`) and may have `created_at`, an ISO time in UTC. `id` is
    unique inside its partition. What Cosmos DB would refuse (an id with `/ \\ ? #`, its own fields such as
    `ttl`, more than 100 writes or 2 MB in a batch) raises InvalidInput.
    """

    def close(self) -> None:
        """Release files and connections."""

    def get(self, partition: str, id: str) -> Stored | None:
        """Point read; None if absent or expired."""

    def batch(self, partition: str, writes: Sequence[Write]) -> None:
        """Apply all writes in order, or none (at most 100).

        Raises StoreConflict if one create finds its id taken, or a replace or delete finds
        another etag or nothing.
        """

    def list_partition(self, partition: str, type: str) -> list[Stored]:
        """All documents of one type in a partition, ordered by id."""

    def query(
        self, type: str, equals: dict[str, str | int] | None = None, *, limit: int = 100, after: str | None = None
    ) -> tuple[list[Stored], str | None]:
        """Documents of a type over all partitions whose top-level fields equal the given values.

        Ordered by `created_at` descending, those without one last, then id. Returns a page and the cursor of the next
        (None at the end): documents written meanwhile neither repeat nor hide another. Raises InvalidInput for a cursor
        that is not ours, a `limit` outside 1..1000 or fields without an index.
        """


# Limits of Cosmos DB on a transactional batch, an id and a page.
MAX_BATCH_WRITES = 100
MAX_BATCH_BYTES = 2 * 1024 * 1024
MAX_ID_BYTES = 1023
MAX_PAGE = 1000
_ID_FORBIDS = re.compile(r"[/\\?#\x00-\x1f\x7f]")
# Cosmos DB would overwrite these, or act on them.
_RESERVED_FIELDS = frozenset({"ttl", "_attachments", "_etag", "_rid", "_self", "_ts"})

# Fields that a query may ask for together. Each store has an index for each of these, led by the type, so a query
# costs what it finds and not what is stored.
FILTERS: tuple[tuple[str, ...], ...] = (
    (),
    ("finished",),
    ("project",),
    ("project", "status"),
    ("tag",),
    ("sent",),
    ("settled",),
    ("status",),
)


def is_id(id: str) -> bool:
    """Whether a document may have this id."""
    return bool(id) and not _ID_FORBIDS.search(id) and len(id.encode()) <= MAX_ID_BYTES


def checked_bodies(writes: Sequence[Write]) -> list[str]:
    """The documents of a batch as JSON ("" for a delete); raises InvalidInput if it is not well formed."""
    if len(writes) > MAX_BATCH_WRITES:
        raise InvalidInput("batch_too_large", f"a batch has at most {MAX_BATCH_WRITES} writes, not {len(writes)}")
    bodies = [_checked_body(write) for write in writes]
    size = sum(len(body.encode()) for body in bodies)
    if size > MAX_BATCH_BYTES:
        raise InvalidInput("batch_too_large", f"a batch has at most {MAX_BATCH_BYTES} bytes, not {size}")
    return bodies


def known_as(id: str, type: str, content: object) -> Document:
    """What is stored, which a hand or a disk may have made no object, or one of another type: it stays what it was."""
    document = content if isinstance(content, dict) else {"text": content}
    if document.get("id", id) != id or document.get("type") != type:
        document = {**document, "id": id, "type": type}
    return document


def check_query(fields: Iterable[str], limit: int) -> tuple[str, ...]:
    """The fields in the order of their index.

    Raises InvalidInput for a `limit` outside 1..1000, and `no_index` for fields that are not in FILTERS.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidInput("bad_limit", f"limit is {limit}, not within 1 and {MAX_PAGE}", "limit")
    ordered = tuple(sorted(fields))
    if ordered not in FILTERS:
        raise InvalidInput("no_index", f"there is no index of a type's documents by {', '.join(ordered)}", "equals")
    return ordered


def cursor_of(created_at: str, id: str, partition: str) -> str:
    """Names the last document of a page, so documents written meanwhile neither repeat nor hide another."""
    return base64.urlsafe_b64encode(json.dumps([created_at, id, partition]).encode()).decode()


def read_cursor(cursor: str) -> tuple[str, str, str]:
    """`created_at`, id and partition of the last document seen; raises InvalidInput if it is not a cursor."""
    try:
        created_at, id, partition = map(str, json.loads(base64.urlsafe_b64decode(cursor)))
        f"{created_at}{id}{partition}".encode()  # none holds half of a surrogate pair
    except (TypeError, ValueError) as error:
        raise InvalidInput("bad_cursor", "the cursor is not one this store gave out", "after") from error
    return created_at, id, partition


def _checked_body(write: Write) -> str:
    """The document as JSON ("" for a delete); raises InvalidInput if the write is not well formed."""
    if write.kind not in ("create", "replace", "delete"):
        raise InvalidInput("bad_write", f"there is no write of kind {write.kind!r}", "kind")
    if not is_id(write.id):
        message = f"an id has 1 to {MAX_ID_BYTES} bytes and none of / \\ ? #, not {write.id!r}"
        raise InvalidInput("bad_id", message, "id")
    if write.kind == "delete":
        return ""
    if write.kind == "create" and write.etag is not None:
        raise InvalidInput("bad_write", f"the create of {write.id} has an etag; it requires absence", "etag")
    if write.ttl_s is not None and write.ttl_s < 1:
        raise InvalidInput("bad_write", f"ttl_s is {write.ttl_s}, not a positive number", "ttl_s")
    if write.document is None:
        raise InvalidInput("bad_write", f"the {write.kind} of {write.id} has no document", "document")
    return _to_json(write.id, write.document)


def _to_json(id: str, document: Document) -> str:
    if not isinstance(document.get("type"), str):
        raise InvalidInput("bad_document", f"document {id} has no string `type`", "type")
    if not isinstance(document.get("created_at", ""), str):
        raise InvalidInput("bad_document", f"`created_at` of document {id} is not a string", "created_at")
    if document.get("id", id) != id:
        raise InvalidInput("bad_document", f"document {id} calls itself {document['id']}", "id")
    if reserved := sorted(_RESERVED_FIELDS & document.keys()):
        raise InvalidInput("bad_document", f"document {id} has the reserved field {reserved[0]}", reserved[0])
    try:
        body = json.dumps(document, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        body.encode()  # a lone surrogate is no text
    except (TypeError, ValueError) as error:
        raise InvalidInput("bad_document", f"document {id} is not JSON: {error}") from error
    return body
