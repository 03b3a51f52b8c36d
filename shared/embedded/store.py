"""RunStore on SQLite, with the rules of Cosmos DB."""

from __future__ import annotations

import base64
import json
import re
import sqlite3
import uuid
from collections.abc import Sequence
from pathlib import Path

from shared.domain.errors import InvalidInput, StoreConflict
from shared.embedded.clock import to_microseconds
from shared.embedded.sqlite import Database
from shared.ports import Clock, Document, Stored, Write

# Limits of Cosmos DB on a transactional batch, an id and a page: a laptop refuses what Azure would.
MAX_BATCH_WRITES = 100
MAX_BATCH_BYTES = 2 * 1024 * 1024
MAX_ID_BYTES = 1023
MAX_PAGE = 1000
_ID_FORBIDS = re.compile(r"[/\\?#\x00-\x1f\x7f]")
# Cosmos DB would overwrite these, or act on them.
_RESERVED_FIELDS = frozenset({"ttl", "_attachments", "_etag", "_rid", "_self", "_ts"})

_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_SCHEMA = """
CREATE TABLE documents (
    partition TEXT NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    created_at TEXT NOT NULL,
    etag TEXT NOT NULL,
    body TEXT NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (partition, id)
);
CREATE INDEX documents_by_type ON documents (type, created_at DESC, id, partition);
CREATE INDEX documents_by_expiry ON documents (expires_at) WHERE expires_at IS NOT NULL
"""

# :equals is a JSON object. Types are compared too, or the text '[1]' would equal a list and 1 equal true.
_QUERY = """
SELECT body, etag, created_at, id, partition
FROM documents
WHERE type = :type AND (expires_at IS NULL OR expires_at > :now)
    AND NOT EXISTS (
        SELECT 1 FROM json_each(:equals) AS wanted
        WHERE json_type(body, wanted.fullkey) IS NOT wanted.type
            OR json_extract(body, wanted.fullkey) IS NOT wanted.value
    )
    AND (
        :after_id IS NULL
        OR created_at < :after_time
        OR (created_at = :after_time AND (id, partition) > (:after_id, :after_partition))
    )
ORDER BY created_at DESC, id, partition
LIMIT :limit
"""


class SqliteRunStore:
    """Documents in one SQLite file; any number of threads and processes may share it.

    Documents go through JSON on the way in and out, so nothing a caller holds is shared with the store.
    """

    def __init__(self, path: str | Path, clock: Clock) -> None:
        self._database = Database(path, schema=_SCHEMA, version=1)
        self._clock = clock

    def close(self) -> None:
        """Release the file."""
        self._database.close()

    def get(self, partition: str, id: str) -> Stored | None:
        """Point read; None if absent or expired."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT body, etag FROM documents"
                " WHERE partition = ? AND id = ? AND (expires_at IS NULL OR expires_at > ?)",
                (partition, id, self._now()),
            ).fetchone()
        return None if row is None else _stored(*row)

    def batch(self, partition: str, writes: Sequence[Write]) -> None:
        """Apply all writes in order, or none.

        Raises StoreConflict if a precondition does not hold; InvalidInput for what Cosmos DB would
        refuse: more than 100 writes, more than 2 MB, an id with one of `/ \\ ? #`, a reserved field.
        """
        if len(writes) > MAX_BATCH_WRITES:
            raise InvalidInput("batch_too_large", f"a batch has at most {MAX_BATCH_WRITES} writes, not {len(writes)}")
        bodies = [_checked_body(write) for write in writes]
        size = sum(len(body.encode()) for body in bodies)
        if size > MAX_BATCH_BYTES:
            raise InvalidInput("batch_too_large", f"a batch has at most {MAX_BATCH_BYTES} bytes, not {size}")
        now = self._now()
        with self._database.write() as connection:
            # From here on an expired document is simply not there.
            connection.execute("DELETE FROM documents WHERE expires_at <= ?", (now,))
            for write, body in zip(writes, bodies, strict=True):
                if not _apply(connection, partition, write, body, now):
                    raise StoreConflict(f"document {partition}/{write.id}")

    def list_partition(self, partition: str, type: str) -> list[Stored]:
        """All documents of one type in a partition, ordered by id."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT body, etag FROM documents"
                " WHERE partition = ? AND type = ? AND (expires_at IS NULL OR expires_at > ?) ORDER BY id",
                (partition, type, self._now()),
            ).fetchall()
        return [_stored(*row) for row in rows]

    def query(
        self,
        type: str,
        equals: dict[str, str | int] | None = None,
        *,
        limit: int = 100,
        after: str | None = None,
    ) -> tuple[list[Stored], str | None]:
        """A page of the documents of a type, newest `created_at` first, then by id.

        A document without `created_at` comes last. The cursor names the last document of the page, so
        documents written meanwhile neither repeat nor hide another. Raises InvalidInput for a cursor
        that is not ours, a `limit` outside 1..1000 or a field that is not a plain name.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise InvalidInput("bad_limit", f"limit is {limit}, not within 1 and {MAX_PAGE}", "limit")
        for name in equals or {}:
            if not _FIELD.fullmatch(name):
                raise InvalidInput("bad_field", f"{name!r} is not the name of a top-level field", name)
        created_at, id, partition = (None, None, None) if after is None else _read_cursor(after)
        values = {
            "type": type,
            "now": self._now(),
            "equals": json.dumps(equals or {}),
            "after_time": created_at,
            "after_id": id,
            "after_partition": partition,
            "limit": limit + 1,
        }
        with self._database.read() as connection:
            rows = connection.execute(_QUERY, values).fetchall()
        cursor = _cursor(*rows[limit - 1][2:]) if len(rows) > limit else None
        return [_stored(body, etag) for body, etag, *_ in rows[:limit]], cursor

    def _now(self) -> int:
        return to_microseconds(self._clock.now())


def _apply(connection: sqlite3.Connection, partition: str, write: Write, body: str, now: int) -> bool:
    """Do one write; False if its precondition does not hold."""
    key = (partition, write.id)
    if write.kind == "delete":
        sql = "DELETE FROM documents WHERE partition = ? AND id = ? AND (? IS NULL OR etag = ?)"
        return connection.execute(sql, (*key, write.etag, write.etag)).rowcount == 1
    assert write.document is not None  # _checked_body has seen to it
    values = (
        write.document["type"],
        write.document.get("created_at", ""),
        uuid.uuid4().hex,
        body,
        None if write.ttl_s is None else now + write.ttl_s * 1_000_000,
    )
    if write.kind == "create":
        sql = (
            "INSERT INTO documents (partition, id, type, created_at, etag, body, expires_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        )
        return connection.execute(sql, (*key, *values)).rowcount == 1
    sql = (
        "UPDATE documents SET type = ?, created_at = ?, etag = ?, body = ?, expires_at = ?"
        " WHERE partition = ? AND id = ? AND (? IS NULL OR etag = ?)"
    )
    return connection.execute(sql, (*values, *key, write.etag, write.etag)).rowcount == 1


def _checked_body(write: Write) -> str:
    """The document as JSON ("" for a delete); raises InvalidInput if the write is not well formed."""
    if write.kind not in ("create", "replace", "delete"):
        raise InvalidInput("bad_write", f"there is no write of kind {write.kind!r}", "kind")
    if not write.id or _ID_FORBIDS.search(write.id) or len(write.id.encode()) > MAX_ID_BYTES:
        raise InvalidInput(
            "bad_id", f"an id has 1 to {MAX_ID_BYTES} bytes and none of / \\ ? #, not {write.id!r}", "id"
        )
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


def _stored(body: str, etag: str) -> Stored:
    return Stored(json.loads(body), etag)


def _cursor(created_at: str, id: str, partition: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([created_at, id, partition]).encode()).decode()


def _read_cursor(cursor: str) -> tuple[str, str, str]:
    try:
        created_at, id, partition = json.loads(base64.urlsafe_b64decode(cursor))
    except (TypeError, ValueError) as error:
        raise InvalidInput("bad_cursor", "the cursor is not one this store gave out", "after") from error
    return str(created_at), str(id), str(partition)
