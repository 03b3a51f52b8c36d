"""Keys of all rows of a dataset, kept on disk: exact duplicates, overlaps and the train/validation split."""

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
_DUPLICATES = """
SELECT number, offset FROM {file} JOIN
    (SELECT row_key, min(number) AS first FROM {file} GROUP BY row_key HAVING count(*) > 1) USING (row_key)
WHERE number > first ORDER BY number"""
# Rows are split by `cluster`: their own split key, or that of the rows they were grouped with.
_CREATE_CLUSTERS = """
CREATE VIEW clusters AS SELECT train.rowid AS place, number, offset, coalesce(root, train.split_key) AS cluster
FROM train LEFT JOIN grouped ON grouped.split_key = train.split_key"""
_CLUSTERS = "SELECT number, offset, cluster IN (SELECT cluster FROM held_out) FROM clusters ORDER BY place"
_CLUSTER_SIZES = "SELECT cluster, count(*) FROM clusters GROUP BY cluster ORDER BY cluster"
_SMALLEST_CLUSTER = """
INSERT INTO held_out SELECT cluster FROM clusters GROUP BY cluster ORDER BY count(*), cluster LIMIT 1"""
_HELD_OUT = "SELECT count(*) FROM clusters WHERE cluster IN (SELECT cluster FROM held_out)"
_OVERLAPS = "SELECT number, offset FROM train WHERE content_key IN (SELECT content_key FROM eval) ORDER BY number"


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
                f"CREATE TABLE {file} "
                "(row_key BLOB, content_key BLOB, split_key INTEGER, number INTEGER, offset INTEGER)"
            )
            self._pending[file] = []
        self._database.execute("CREATE TABLE grouped (split_key INTEGER PRIMARY KEY, root INTEGER)")
        self._database.execute("CREATE TABLE held_out (cluster INTEGER PRIMARY KEY)")
        self._database.execute(_CREATE_CLUSTERS)
        if unique:
            self._database.execute("CREATE UNIQUE INDEX row_key ON train (row_key)")
        self._database.execute("BEGIN")

    def __enter__(self) -> Keys:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._database.close()

    def add(self, file: File, row_key: bytes, content_key: bytes, split_key: int, number: int, offset: int) -> bool:
        """Hash of the row, hash of its question and answer, and the 64-bit number that decides whether it is held out.

        False if the row is dropped because an equal one was added before (`unique`).
        """
        key = (row_key, content_key, split_key - 2**63, number, offset)  # SQLite's integers are signed
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

    def duplicates(self, file: File) -> Iterator[tuple[int, int]]:
        """Line number and offset of each row that equals an earlier one of its file."""
        self._write(file)
        return self._database.execute(_DUPLICATES.format(file=file))

    def overlaps(self) -> Iterator[tuple[int, int]]:
        """Line number and offset of each training row whose question and answer are those of a held-out row."""
        self._write("train")
        self._write("eval")
        return self._database.execute(_OVERLAPS)

    def group(self, split_key: int, other: int) -> None:
        """Rows with either split key are all held out or all trained on."""
        here, there = self._root(split_key - 2**63), self._root(other - 2**63)
        if here != there:
            self._database.execute("INSERT INTO grouped VALUES (?, ?)", (here, there))

    def _root(self, split_key: int) -> int:
        while found := self._database.execute("SELECT root FROM grouped WHERE split_key = ?", (split_key,)).fetchone():
            (split_key,) = found
        return split_key

    def split(self, share: float) -> tuple[bool, Iterator[tuple[int, int, bool]]]:
        """Line number, offset, and whether it is held out, of each training row in order.

        Rows are held out by clusters of equal or grouped split keys, smallest key first, as long as the share of all
        rows is not exceeded; at least one cluster is held out and at least one is left, where there are two. Where so
        many rows are grouped that less than half the share would be held out, the groups are dissolved, and the first
        value is False.
        """
        self._write("train")
        execute = self._database.execute
        execute("CREATE INDEX split_keys ON train (split_key)")
        for (split_key,) in execute("SELECT split_key FROM grouped").fetchall():
            execute("UPDATE grouped SET root = ? WHERE split_key = ?", (self._root(split_key), split_key))
        (rows,) = execute("SELECT count(*) FROM train").fetchone()
        target = max(1, round(share * rows))
        (grouped,) = execute("SELECT count(*) FROM grouped").fetchone()
        all_grouped = self._hold_out(target) * 2 >= target or not grouped
        if not all_grouped:
            execute("DELETE FROM grouped")
            execute("DELETE FROM held_out")
            self._hold_out(target)
        return all_grouped, execute(_CLUSTERS)

    def _hold_out(self, target: int) -> int:
        """How many rows, `target` at most unless the smallest cluster has more."""
        execute = self._database.execute
        (clusters,) = execute("SELECT count(DISTINCT cluster) FROM clusters").fetchone()
        if clusters < 2:
            return 0
        self._database.executemany("INSERT INTO held_out VALUES (?)", self._fitting(target))
        (found,) = execute("SELECT count(*) FROM held_out").fetchone()
        if not found:
            execute(_SMALLEST_CLUSTER)
        (held_out,) = execute(_HELD_OUT).fetchone()
        return int(held_out)

    def _fitting(self, target: int) -> Iterator[tuple[int]]:
        for cluster, count in self._database.execute(_CLUSTER_SIZES):
            if count <= target:
                target -= count
                yield (cluster,)
