"""What survives the emulator's death: messages and sequence numbers, in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from local_stack.service_bus.messages import StoredMessage

_COLUMNS = ", ".join(field.name for field in fields(StoredMessage))
_MARKS = ", ".join("?" * (1 + len(fields(StoredMessage))))


class BrokerStore:
    """One open transaction at a time; `commit` before a client gets an answer.

    WAL with synchronous=NORMAL: what was committed survives the death of the process, not of the machine.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.executescript(f"""
            PRAGMA journal_mode = WAL;
            PRAGMA synchronous = NORMAL;
            CREATE TABLE IF NOT EXISTS messages (entity, {_COLUMNS}, PRIMARY KEY (entity, sequence));
            CREATE TABLE IF NOT EXISTS counters (entity PRIMARY KEY, sequence);
        """)
        self._open = False

    def close(self) -> None:
        self.commit()
        self._database.close()

    def commit(self) -> None:
        if self._open:
            self._database.execute("COMMIT")
            self._open = False

    def put(self, entity: str, message: StoredMessage) -> None:
        """Insert or replace; the entity's numbers never fall behind the message's."""
        self._run(f"INSERT OR REPLACE INTO messages VALUES ({_MARKS})", entity, *astuple(message))
        self.count(entity, message.sequence)

    def count(self, entity: str, sequence: int) -> None:
        self._run(
            "INSERT INTO counters VALUES (?, ?)"
            " ON CONFLICT (entity) DO UPDATE SET sequence = max(sequence, excluded.sequence)",
            entity,
            sequence,
        )

    def drop(self, entity: str, message: StoredMessage) -> None:
        self._run("DELETE FROM messages WHERE entity = ? AND sequence = ?", entity, message.sequence)

    def load(self, entity: str) -> Iterator[StoredMessage]:
        rows = self._database.execute(f"SELECT {_COLUMNS} FROM messages WHERE entity = ? ORDER BY sequence", (entity,))
        return (StoredMessage(*row) for row in rows)

    def last_sequence(self, entity: str) -> int:
        row = self._database.execute("SELECT sequence FROM counters WHERE entity = ?", (entity,)).fetchone()
        return row[0] if row else 0

    def _run(self, sql: str, *values: Any) -> None:
        if not self._open:
            self._database.execute("BEGIN")
            self._open = True
        self._database.execute(sql, values)
