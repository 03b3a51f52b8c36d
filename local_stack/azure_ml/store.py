"""What the emulator knows, in one SQLite file: a restart, even after kill -9, loses nothing."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Document = dict[str, Any]

_SCHEMA = """
create table if not exists documents (
    kind text, name text, body text not null, seq integer not null, primary key (kind, name));
create table if not exists metrics (
    id integer primary key, run text, key text, value real, step integer, at integer);
create index if not exists metrics_by_run on metrics (run, key, id);
create table if not exists outbox (id integer primary key, event text not null);
"""


class WorkspaceStore:
    """Documents by kind and name, metric points, and the events not yet sent.

    Every method may be called from any thread; `transaction` makes several calls one.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("pragma journal_mode=wal")
        self._db.execute("pragma synchronous=normal")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside, or none; nested ones join the outer."""
        with self._lock:
            if self._depth == 0:
                self._db.execute("begin immediate")
            self._depth += 1
            try:
                yield
            except BaseException:
                if self._depth == 1:
                    self._db.execute("rollback")
                raise
            else:
                if self._depth == 1:
                    self._db.execute("commit")
            finally:
                self._depth -= 1

    def get(self, kind: str, name: str) -> Document | None:
        with self._lock:
            row = self._db.execute("select body from documents where kind = ? and name = ?", (kind, name)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, kind: str, name: str, body: Document) -> None:
        with self._lock:
            self._db.execute(
                "insert into documents values (?, ?, ?, (select coalesce(max(seq), 0) + 1 from documents))"
                " on conflict (kind, name) do update set body = excluded.body",
                (kind, name, json.dumps(body)),
            )

    def delete(self, kind: str, name: str) -> None:
        with self._lock:
            self._db.execute("delete from documents where kind = ? and name = ?", (kind, name))

    def all(self, kind: str, prefix: str = "") -> list[Document]:
        """Documents of a kind whose name starts with `prefix`, oldest first."""
        with self._lock:
            rows = self._db.execute(
                "select body from documents where kind = ? and substr(name, 1, ?) = ? order by seq",
                (kind, len(prefix), prefix),
            ).fetchall()
        return [json.loads(row[0]) for row in rows]

    def names(self, kind: str) -> list[str]:
        """Names of a kind, oldest first."""
        with self._lock:
            rows = self._db.execute("select name from documents where kind = ? order by seq", (kind,))
            return [row[0] for row in rows]

    def add_metric(self, run: str, key: str, value: float, step: int, at: int) -> None:
        with self._lock:
            self._db.execute(
                "insert into metrics (run, key, value, step, at) values (?, ?, ?, ?, ?)",
                (run, key, value, step, at),
            )

    def metrics(self, run: str, key: str, after: int, limit: int) -> list[tuple[int, Document]]:
        """Points of one curve in the order logged, each with its row id (`after` continues there)."""
        with self._lock:
            rows = self._db.execute(
                "select id, value, step, at from metrics where run = ? and key = ? and id > ? order by id limit ?",
                (run, key, after, limit),
            ).fetchall()
        return [(row[0], {"key": key, "value": row[1], "step": row[2], "timestamp": row[3]}) for row in rows]

    def latest_metrics(self, run: str) -> list[Document]:
        with self._lock:
            rows = self._db.execute(
                "select key, value, step, at from metrics where id in"
                " (select max(id) from metrics where run = ? group by key)",
                (run,),
            ).fetchall()
        return [dict(zip(("key", "value", "step", "timestamp"), row, strict=True)) for row in rows]

    def add_event(self, event: Document) -> None:
        with self._lock:
            self._db.execute("insert into outbox (event) values (?)", (json.dumps(event),))

    def next_event(self) -> tuple[int, Document] | None:
        with self._lock:
            row = self._db.execute("select id, event from outbox order by id limit 1").fetchone()
        return None if row is None else (row[0], json.loads(row[1]))

    def remove_event(self, id: int) -> None:
        with self._lock:
            self._db.execute("delete from outbox where id = ?", (id,))
