"""RunStore on SQLite, with the rules of Cosmos DB."""

import json
import sqlite3
import uuid
from collections.abc import Sequence
from pathlib import Path

from shared.domain.beside import read_beside
from shared.domain.errors import StoreConflict
from shared.embedded.clock import to_microseconds
from shared.embedded.sqlite import Database
from shared.ports import Clock, Stored, Write
from shared.ports.store import check_query, checked_bodies, cursor_of, known_as, read_cursor

_SQL: dict[str, str] = read_beside(__file__)


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
    (_SQL["table"], _SQL["by_type"], _SQL["by_expiry"]),
    tuple(map(_index, ("finished", "project", "project status", "purpose", "sent", "settled", "status"))),
    (_SQL["rename_ledger"],),
    (_index("tag"),),
)


class SqliteRunStore:
    """Documents in one SQLite file that threads and processes share; through JSON, so nothing held is shared."""

    def __init__(self, path: str | Path, clock: Clock) -> None:
        self._database = Database(path, _STEPS)
        self._clock = clock

    def close(self) -> None:
        self._database.close()

    def get(self, partition: str, id: str) -> Stored | None:
        with self._database.read() as connection:
            row = connection.execute(_SQL["get"], (partition, id, self._now())).fetchone()
        return None if row is None else _stored(*row)

    def batch(self, partition: str, writes: Sequence[Write]) -> None:
        bodies = checked_bodies(writes)
        now = self._now()
        with self._database.write() as connection:
            connection.execute(_SQL["delete_expired"], (now,))
            for write, body in zip(writes, bodies, strict=True):
                if not _apply(connection, partition, write, body, now):
                    raise StoreConflict(f"document {partition}/{write.id}")

    def list_partition(self, partition: str, type: str) -> list[Stored]:
        with self._database.read() as connection:
            rows = connection.execute(_SQL["list_partition"], (partition, type, self._now())).fetchall()
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
    conditions = "".join(_SQL["equal"].format(field=_field(name), name=name) for name in names)
    return _SQL["query"].format(equals=conditions, after="" if after is None else _SQL["after"]), values


def _apply(connection: sqlite3.Connection, partition: str, write: Write, body: str, now: int) -> bool:
    """Do one write; False if its precondition does not hold."""
    key = (partition, write.id)
    # From here on an expired document is simply not there.
    connection.execute(_SQL["delete_if_expired"], (*key, now))
    if write.kind == "delete":
        return connection.execute(_SQL["delete"], (*key, write.etag, write.etag)).rowcount == 1
    assert write.document is not None  # checked_bodies has seen to it
    values = (
        write.document["type"],
        write.document.get("created_at", ""),
        uuid.uuid4().hex,
        body,
        None if write.ttl_s is None else now + write.ttl_s * 1_000_000,
    )
    if write.kind == "create":
        return connection.execute(_SQL["create"], (*key, *values)).rowcount == 1
    return connection.execute(_SQL["replace"], (*values, *key, write.etag, write.etag)).rowcount == 1


def _stored(body: str, etag: str, partition: str, id: str, type: str) -> Stored:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    return Stored(known_as(id, type, document if isinstance(document, dict) else body), etag, partition)
