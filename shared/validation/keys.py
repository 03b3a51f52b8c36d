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
# `side` is what a row is carved out by: its draw, or that of the group it was joined to.
_CREATE_SIDES = """
CREATE VIEW sides AS SELECT train.rowid AS place, number, offset, coalesce(root, train.draw) AS side
FROM train LEFT JOIN joined ON joined.draw = train.draw"""
_SIDES = "SELECT number, offset, side IN (SELECT side FROM held_out) FROM sides ORDER BY place"
_GROUPS = "SELECT side, count(*) FROM sides GROUP BY side ORDER BY side"
_SMALLEST_GROUP = "INSERT INTO held_out SELECT side FROM sides GROUP BY side ORDER BY count(*), side LIMIT 1"
_HELD_OUT = "SELECT count(*) FROM sides WHERE side IN (SELECT side FROM held_out)"
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
        self._database.execute("CREATE TABLE held_out (side INTEGER PRIMARY KEY)")
        self._database.execute(_CREATE_SIDES)
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

    def carved(self, share: float) -> tuple[bool, Iterator[tuple[int, int, bool]]]:
        """Line number, offset, and whether it is held out, of each training row in order.

        Rows are held out by groups of equal or joined draws, smallest draw first, as long as the share of all rows
        is not exceeded; at least one group is held out and at least one is left, where there are two. Where so many
        are joined that not half the share would be held out, the joins are undone, and the first value is False.
        """
        self._write("train")
        ask = self._database.execute
        ask("CREATE INDEX draws ON train (draw)")
        for (draw,) in ask("SELECT draw FROM joined").fetchall():
            ask("UPDATE joined SET root = ? WHERE draw = ?", (self._root(draw), draw))
        (rows,) = ask("SELECT count(*) FROM train").fetchone()
        target = max(1, round(share * rows))
        (joined,) = ask("SELECT count(*) FROM joined").fetchone()
        together = self._hold_out(target) * 2 >= target or not joined
        if not together:
            ask("DELETE FROM joined")
            ask("DELETE FROM held_out")
            self._hold_out(target)
        return together, ask(_SIDES)

    def _hold_out(self, target: int) -> int:
        """How many rows, `target` at most unless the smallest group has more."""
        ask = self._database.execute
        (groups,) = ask("SELECT count(DISTINCT side) FROM sides").fetchone()
        if groups < 2:
            return 0
        self._database.executemany("INSERT INTO held_out VALUES (?)", self._fitting(target))
        (found,) = ask("SELECT count(*) FROM held_out").fetchone()
        if not found:
            ask(_SMALLEST_GROUP)
        (held_out,) = ask(_HELD_OUT).fetchone()
        return int(held_out)

    def _fitting(self, target: int) -> Iterator[tuple[int]]:
        for side, count in self._database.execute(_GROUPS):
            if count <= target:
                target -= count
                yield (side,)
