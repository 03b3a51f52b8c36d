"""RunStore on SQLite, with the rules of Cosmos DB."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Sequence
from pathlib import Path

from shared.domain.errors import StoreConflict
from shared.embedded.clock import to_microseconds
from shared.embedded.sqlite import Database
from shared.ports import Clock, Stored, Write
from shared.ports.document_rules import check_query, checked_bodies, cursor_of, known_as, read_cursor

_TABLE = """
CREATE TABLE documents (
    partition TEXT NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    created_at TEXT NOT NULL,
    etag TEXT NOT NULL,
    body TEXT NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (partition, id)
)
"""


def _field(name: str) -> str:
    """The expression that an index and a query must both use, letter for letter."""
    return f"json_extract(body, '$.{name}')"


def _index(names: str) -> str:
    fields = list(map(_field, names.split()))
    return (
        f"CREATE INDEX documents_by_{names.replace(' ', '_')} ON documents"
        f" (type, {', '.join(fields)}, created_at DESC, id, partition)"
        f" WHERE {' AND '.join(f'{field} IS NOT NULL' for field in fields)}"
    )


_STEPS = (
    (
        _TABLE,
        "CREATE INDEX documents_by_type ON documents (type, created_at DESC, id, partition)",
        "CREATE INDEX documents_by_expiry ON documents (expires_at) WHERE expires_at IS NOT NULL",
    ),
    tuple(map(_index, ("finished", "project", "project status", "purpose", "sent", "settled", "status"))),
    (
        # What `budget` was called until 25 November 2026.
        "UPDATE documents SET id = 'budget', type = 'budget',"
        " body = json_set(body, '$.id', 'budget', '$.type', 'budget') WHERE type = 'ledger'",
    ),
    (_index("tag"),),
)

# Types are compared too, or the text '[1]' would equal a list and 1 equal true.
_EQUAL = " AND {field} = :{name} AND json_type(body, '$.{name}') = :{name}_type"
_AFTER = """
    AND created_at <= :after_time
    AND (created_at < :after_time OR (id, partition) > (:after_id, :after_partition))
"""
_QUERY = """
SELECT body, etag, created_at, id, partition
FROM documents
WHERE type = :type{equals}{after}
    AND (expires_at IS NULL OR expires_at > :now)
ORDER BY created_at DESC, id, partition
LIMIT :limit
"""
# Rows that expired: a few with each batch, more than a batch can write, so that they cannot pile up.
_DELETE_EXPIRED = """
DELETE FROM documents WHERE rowid IN (
    SELECT rowid FROM documents WHERE expires_at <= ? ORDER BY expires_at LIMIT 200
)
"""


class SqliteRunStore:
    """Documents in one SQLite file; any number of threads and processes may share it.

    Documents go through JSON on the way in and out, so nothing a caller holds is shared with the store.
    """

    def __init__(self, path: str | Path, clock: Clock) -> None:
        self._database = Database(path, _STEPS)
        self._clock = clock

    def close(self) -> None:
        self._database.close()

    def get(self, partition: str, id: str) -> Stored | None:
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT body, etag, partition, id, type FROM documents"
                " WHERE partition = ? AND id = ? AND (expires_at IS NULL OR expires_at > ?)",
                (partition, id, self._now()),
            ).fetchone()
        return None if row is None else _stored(*row)

    def batch(self, partition: str, writes: Sequence[Write]) -> None:
        bodies = checked_bodies(writes)
        now = self._now()
        with self._database.write() as connection:
            connection.execute(_DELETE_EXPIRED, (now,))
            for write, body in zip(writes, bodies, strict=True):
                if not _apply(connection, partition, write, body, now):
                    raise StoreConflict(f"document {partition}/{write.id}")

    def list_partition(self, partition: str, type: str) -> list[Stored]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT body, etag, partition, id, type FROM documents"
                " WHERE partition = ? AND type = ? AND (expires_at IS NULL OR expires_at > ?) ORDER BY id",
                (partition, type, self._now()),
            ).fetchall()
        return [_stored(*row) for row in rows]

    def query(
        self, type: str, equals: dict[str, str | int] | None = None, *, limit: int = 100, after: str | None = None
    ) -> tuple[list[Stored], str | None]:
        sql, values = query_of(type, equals or {}, limit, after)
        with self._database.read() as connection:
            rows = connection.execute(sql, {**values, "now": self._now()}).fetchall()
        cursor = cursor_of(*rows[limit - 1][2:]) if len(rows) > limit else None
        return [_stored(row[0], row[1], row[4], row[3], type) for row in rows[:limit]], cursor

    def _now(self) -> int:
        return to_microseconds(self._clock.now())


def query_of(
    type: str, equals: dict[str, str | int], limit: int, after: str | None
) -> tuple[str, dict[str, str | int]]:
    """The statement of a query, and its values but the time. One row more than `limit`: is there another page?"""
    names = check_query(equals, limit)
    values: dict[str, str | int] = {"type": type, "limit": limit + 1, **equals}
    for name in names:
        value = equals[name]
        kind = "text" if isinstance(value, str) else "integer"
        values[f"{name}_type"] = str(value).lower() if isinstance(value, bool) else kind
    if after is not None:
        values["after_time"], values["after_id"], values["after_partition"] = read_cursor(after)
    conditions = "".join(_EQUAL.format(field=_field(name), name=name) for name in names)
    return _QUERY.format(equals=conditions, after="" if after is None else _AFTER), values


def _apply(connection: sqlite3.Connection, partition: str, write: Write, body: str, now: int) -> bool:
    """Do one write; False if its precondition does not hold."""
    key = (partition, write.id)
    # From here on an expired document is simply not there.
    connection.execute("DELETE FROM documents WHERE partition = ? AND id = ? AND expires_at <= ?", (*key, now))
    if write.kind == "delete":
        sql = "DELETE FROM documents WHERE partition = ? AND id = ? AND (? IS NULL OR etag = ?)"
        return connection.execute(sql, (*key, write.etag, write.etag)).rowcount == 1
    assert write.document is not None  # checked_bodies has seen to it
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


def _stored(body: str, etag: str, partition: str, id: str, type: str) -> Stored:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    return Stored(known_as(id, type, document if isinstance(document, dict) else body), etag, partition)
