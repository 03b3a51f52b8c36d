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
_INSERT_NEW = "INSERT OR IGNORE INTO train VALUES (?, ?, ?, ?, ?)"
_COPIES = """
SELECT number, offset FROM {file} JOIN
    (SELECT whole, min(number) AS first FROM {file} GROUP BY whole HAVING count(*) > 1) USING (whole)
WHERE number > first ORDER BY number"""
_GROUPS = "SELECT draw, count(*) FROM train GROUP BY draw ORDER BY draw"
_SMALLEST_GROUP = "SELECT draw FROM train GROUP BY draw ORDER BY count(*), draw LIMIT 1"
_SIDES = "SELECT number, offset, draw IN (SELECT draw FROM held_out) FROM train ORDER BY rowid"
_OVERLAPS = "SELECT number, offset FROM train WHERE asked IN (SELECT asked FROM eval) ORDER BY number"


class Keys:
    """Keys of the rows of both files. A temporary database: memory is flat, and nothing is left behind.

    Keys are 128-bit hashes; that two of 10 million rows share one by chance has a probability below 1e-24.
    `unique`: of equal training rows only the first is taken. A negative line number is of a row that the dropped
    file does not hold.
    """

    def __init__(self, *, unique: bool = False) -> None:
        self._unique = unique
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
        self._database.execute("CREATE TABLE joined (draw INTEGER PRIMARY KEY, root INTEGER)")
        if unique:
            self._database.execute("CREATE UNIQUE INDEX whole ON train (whole)")
        self._database.execute("BEGIN")

    def __enter__(self) -> Keys:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._database.close()

    def add(self, file: File, whole: bytes, asked: bytes, draw: int, number: int, offset: int) -> bool:
        """A row's hash, that of its question and answer, and the 64-bit number that decides where it is carved to.

        False if the row is left out, for it was there before.
        """
        key = (whole, asked, draw - 2**63, number, offset)  # SQLite's integers are signed
        if self._unique and file == "train":
            return self._database.execute(_INSERT_NEW, key).rowcount == 1
        pending = self._pending[file]
        pending.append(key)
        if len(pending) >= _PENDING_ROWS:
            self._write(file)
        return True

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

    def join(self, draw: int, other: int) -> None:
        """Rows with the one draw and rows with the other stay on one side of the carve-out."""
        here, there = self._root(draw - 2**63), self._root(other - 2**63)
        if here != there:
            self._database.execute("INSERT INTO joined VALUES (?, ?)", (here, there))

    def _root(self, draw: int) -> int:
        while found := self._database.execute("SELECT root FROM joined WHERE draw = ?", (draw,)).fetchone():
            (draw,) = found
        return draw

    def carved(self, share: float) -> Iterator[tuple[int, int, bool]]:
        """Line number, offset, and whether it is held out, of each training row in order.

        Rows are held out by groups of equal or joined draws, smallest draw first, as long as the share of all rows
        is not exceeded; at least one group is held out and at least one is left, where there are two.
        """
        self._write("train")
        self._unite()
        self._database.execute("CREATE TABLE held_out (draw INTEGER PRIMARY KEY)")
        self._database.executemany("INSERT INTO held_out VALUES (?)", self._chosen(share))
        return self._database.execute(_SIDES)

    def _unite(self) -> None:
        ask = self._database.execute
        ask("CREATE INDEX draws ON train (draw)")
        joined = [draw for (draw,) in ask("SELECT draw FROM joined WHERE draw IN (SELECT draw FROM train)")]
        for draw in joined:
            ask("UPDATE train SET draw = ? WHERE draw = ?", (self._root(draw), draw))

    def _chosen(self, share: float) -> Iterator[tuple[int]]:
        ask = self._database.execute
        (rows, groups) = ask("SELECT count(*), count(DISTINCT draw) FROM train").fetchone()
        if groups < 2:
            return
        target, taken = max(1, round(share * rows)), 0
        for draw, count in ask(_GROUPS):
            if taken + count <= target:
                taken += count
                yield (draw,)
        if not taken:
            yield ask(_SMALLEST_GROUP).fetchone()
