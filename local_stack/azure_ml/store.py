"""What the emulator knows, in one SQLite file: a restart, even after kill -9, loses nothing."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local_stack.azure_ml.strict import ArmError
from shared.embedded.sqlite import Database

Document = dict[str, Any]

_SCHEMA = tuple(Path(__file__).with_suffix(".sql").read_text().split(";\n"))


class WorkspaceStore:
    """Documents by kind and name, metric points, and the events not yet sent.

    Every method may be called from any thread; `transaction` makes several calls one.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, [_SCHEMA])

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside, or none; nested ones join the outer."""
        with self._database.read() as connection:
            if connection.in_transaction:
                yield
                return
            with self._database.write():
                yield

    def _execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._database.read() as connection:
            return connection.execute(statement, values).fetchall()

    def get(self, kind: str, name: str) -> Document | None:
        rows = self._execute("select body from documents where kind = ? and name = ?", kind, name)
        return json.loads(rows[0][0]) if rows else None

    def find(self, kind: str, name: str, code: str = "ResourceNotFound") -> Document:
        """Raises ArmError 404 with that code."""
        if (found := self.get(kind, name)) is None:
            raise ArmError(404, code, f"{kind} '{name.rpartition('/')[2]}' was not found")
        return found

    def put(self, kind: str, name: str, body: Document) -> None:
        self._execute(
            "insert into documents values (?, ?, ?, (select coalesce(max(seq), 0) + 1 from documents))"
            " on conflict (kind, name) do update set body = excluded.body",
            *(kind, name, json.dumps(body)),
        )

    def delete(self, kind: str, name: str) -> bool:
        return bool(self._execute("delete from documents where kind = ? and name = ? returning name", kind, name))

    def all(self, kind: str, prefix: str = "") -> list[Document]:
        """Documents of a kind whose name starts with `prefix`, oldest first."""
        statement = "select body from documents where kind = ? and substr(name, 1, ?) = ? order by seq"
        return [json.loads(body) for (body,) in self._execute(statement, kind, len(prefix), prefix)]

    def names(self, kind: str) -> list[str]:
        """Names of a kind, oldest first."""
        return [name for (name,) in self._execute("select name from documents where kind = ? order by seq", kind)]

    def add_metric(self, run: str, key: str, value: float, step: int, at: int) -> None:
        statement = "insert into metrics (run, key, value, step, at) values (?, ?, ?, ?, ?)"
        self._execute(statement, run, key, value, step, at)

    def metrics(self, run: str, key: str, after: int, limit: int) -> list[tuple[int, Document]]:
        """Points of one curve in the order logged, each with its row id (`after` continues there)."""
        statement = "select id, value, step, at from metrics where run = ? and key = ? and id > ? order by id limit ?"
        rows = self._execute(statement, run, key, after, limit)
        return [(row[0], {"key": key, "value": row[1], "step": row[2], "timestamp": row[3]}) for row in rows]

    def add_event(self, event: Document) -> None:
        self._execute("insert into outbox (event) values (?)", json.dumps(event))

    def next_event(self) -> tuple[int, Document] | None:
        rows = self._execute("select id, event from outbox order by id limit 1")
        return (rows[0][0], json.loads(rows[0][1])) if rows else None

    def remove_event(self, id: int) -> None:
        self._execute("delete from outbox where id = ?", id)
