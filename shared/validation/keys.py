"""What all rows of a dataset are compared by, kept on disk: finds copies and overlaps, and carves, exactly."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from types import TracebackType
from typing import Literal

File = Literal["train", "eval"]
_PENDING_ROWS = 4096
_CACHE_KIB = 8192

_INSERT = "INSERT INTO {file} VALUES (?, ?, ?, ?, ?)"
_COPIES = """
SELECT number, offset FROM {file} JOIN
    (SELECT whole, min(number) AS first FROM {file} GROUP BY whole HAVING count(*) > 1) USING (whole)
WHERE number > first ORDER BY number"""
_NTH_DRAW = "SELECT DISTINCT draw FROM train ORDER BY draw LIMIT 1 OFFSET ?"
_OVERLAPS = "SELECT number, offset FROM train WHERE asked IN (SELECT asked FROM eval) ORDER BY number"


class Keys:
    """Keys of the rows of both files. A temporary database: memory is flat, and nothing is left behind.

    Keys are 128-bit hashes; that two of 10 million rows share one by chance has a probability below 1e-24.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)  # "": a private file, in memory while small
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._database.execute("PRAGMA temp_store = FILE")
        self._database.execute("PRAGMA journal_mode = OFF")  # nothing is ever rolled back or read by another
        self._pending: dict[str, list[tuple[bytes, bytes, int, int, int]]] = {}
        for file in ("train", "eval"):
            self._database.execute(
                f"CREATE TABLE {file} (whole BLOB, asked BLOB, draw INTEGER, number INTEGER, offset INTEGER)"
            )
            self._pending[file] = []
        self._database.execute("BEGIN")

    def __enter__(self) -> Keys:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._database.close()

    def add(self, file: File, whole: bytes, asked: bytes, draw: int, number: int, offset: int) -> None:
        """A row's hash, that of its question and answer, and the 64-bit number that decides where it is carved to."""
        pending = self._pending[file]
        pending.append((whole, asked, draw - 2**63, number, offset))  # SQLite's integers are signed
        if len(pending) >= _PENDING_ROWS:
            self._write(file)

    def _write(self, file: File) -> None:
        self._database.executemany(_INSERT.format(file=file), self._pending[file])
        self._pending[file].clear()

    def copies(self, file: File) -> Iterator[tuple[int, int]]:
        """Line number and offset of each row that equals an earlier one of its file."""
        self._write(file)
        return self._database.execute(_COPIES.format(file=file))

    def overlaps(self) -> Iterator[tuple[int, int]]:
        """Line number and offset of each training row that asks and answers what a held-out row does."""
        self._write("train")
        self._write("eval")
        return self._database.execute(_OVERLAPS)

    def held_out(self, share: float) -> Iterator[bool]:
        """For each training row in order whether it is carved out: those with the smallest different draws.

        At least one draw is held out and at least one is left, where there are two different ones.
        """
        self._write("train")
        ask = self._database.execute
        ask("CREATE INDEX draws ON train (draw)")
        (different,) = ask("SELECT count(DISTINCT draw) FROM train").fetchone()
        limit = None
        if different > 1:
            count = min(different - 1, max(1, round(share * different)))
            (limit,) = ask(_NTH_DRAW, (count - 1,)).fetchone()
        rows = ask("SELECT draw FROM train ORDER BY rowid")
        return (limit is not None and draw <= limit for (draw,) in rows)
