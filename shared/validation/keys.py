"""Keys of all rows of a dataset, kept on disk: copies, overlaps, and what decides the split."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import TracebackType
from typing import Literal, NamedTuple

from shared.validation.compared import Turn
from shared.validation.content.near_duplicates import Sketch
from shared.validation.content.slots import Slots
from shared.validation.labels import MAX_LABELS, LabelCount, find_labels

File = Literal["train", "eval"]
_PENDING_ROWS = 1024
_CACHE_KIB = 8192
_CONTENTS_BITS = 16
# Continuations of one question in a tree of dialogues.
MAX_BRANCHES = 16

_COLUMNS = (
    "place INTEGER PRIMARY KEY, row_key BLOB, content_key BLOB, split_key INTEGER, label INTEGER, "
    "number INTEGER, offset INTEGER, low BLOB, prompt INTEGER, answer INTEGER"
)
_INSERT = "INSERT INTO {file} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT_TURN = "INSERT INTO {file}_turns VALUES (?, ?, ?, ?)"
_INSERT_BANDS = (
    "INSERT INTO bands VALUES (?2, ?1), (?3, ?1), (?4, ?1), (?5, ?1), (?6, ?1), (?7, ?1), (?8, ?1), (?9, ?1)"
)
_DUPLICATES = """
SELECT number, offset FROM {file} JOIN
    (SELECT row_key, min(number) AS first FROM {file} GROUP BY row_key HAVING count(*) > 1) USING (row_key)
WHERE number > first ORDER BY number"""
_EVAL_COPIES = "SELECT count(*) - count(DISTINCT content_key) FROM eval"
_OVERLAPPING = """
SELECT place FROM train WHERE content_key IN (SELECT content_key FROM eval)
    OR answer IN (SELECT answer FROM eval WHERE answer <> 0)
UNION SELECT place FROM train_turns WHERE answer IN (SELECT answer FROM eval WHERE answer <> 0)
    AND prompt NOT IN (SELECT prompt FROM openings)"""
# A question with many continuations, such as a greeting. The answer to it tells nothing of them.
_OPENINGS = """
CREATE VIEW openings AS SELECT prompt FROM train_turns GROUP BY prompt HAVING count(DISTINCT next) > {branches}"""
_OVERLAPS = "SELECT number, offset FROM train WHERE place IN ({overlapping}) ORDER BY number"
_SAME_QUESTIONS = """
SELECT number, offset FROM train WHERE place NOT IN ({overlapping}) AND place IN (
    SELECT place FROM train
    WHERE prompt <> 0 AND prompt IN (SELECT prompt FROM eval UNION SELECT prompt FROM eval_turns)
    UNION SELECT place FROM train_turns WHERE prompt IN (SELECT prompt FROM eval WHERE prompt <> 0))
ORDER BY number"""
_SHARED_GROUPS = "SELECT number, offset FROM train WHERE split_key IN (SELECT split_key FROM eval) ORDER BY number"
_REPEATED_LABELS = """
SELECT label, count(*), count(DISTINCT content_key), count(DISTINCT prompt) FROM train WHERE label <> 0
GROUP BY label HAVING count(*) > 1 ORDER BY 2 DESC, 1 LIMIT ?"""
_FIELD_VALUES = """
SELECT value, count(*), count(DISTINCT content_key), count(DISTINCT prompt) FROM fields JOIN train USING (place)
WHERE of_train AND field = ? GROUP BY value HAVING count(*) > 1 ORDER BY 2 DESC, 1 LIMIT ?"""
_TAKE_FIELD = """
UPDATE {file} SET label = found.value FROM (SELECT place, value FROM fields WHERE field = ? AND of_train = ?) AS found
WHERE {file}.place = found.place"""
_FIELDS_MAX = 64
_COUNT_LABELS = """
SELECT count(*), coalesce(sum(rows < ?), 0) FROM
    (SELECT count(*) AS rows FROM train WHERE label <> 0 GROUP BY label)"""
_HELD_OUT_LABELS = "SELECT label, count(*) FROM eval WHERE label <> 0 GROUP BY label ORDER BY 2 DESC LIMIT ?"
_UNKNOWN_LABELS = """
SELECT number, offset FROM eval WHERE label <> 0 AND label NOT IN (SELECT label FROM train) ORDER BY number"""


class RowKeys(NamedTuple):
    """What is kept of a row.

    `row` and `content`: 128-bit hashes of the row and of what it asks and answers. `split`: the 64 bits that it is held
    out by. `label`: 64 bits, signed, of a short answer, else 0. `number` and `offset`: of its line; a negative number
    is of a row that the dropped file does not hold. `sketch`: by which near duplicates are found, None where they need
    not be. `turn` and `earlier`: its turns, as `compared.content_of` has it. `fields`: of an answer that is JSON,
    with their labels.
    """

    row: bytes
    content: bytes
    split: int
    label: int
    number: int
    offset: int
    sketch: Sketch | None = None
    turn: Turn = Turn(0, 0)
    earlier: tuple[Turn, ...] = ()
    fields: tuple[tuple[str, int], ...] = ()


class Keys:
    """Keys of the rows of both files. A temporary database: memory is flat, and nothing is left behind.

    That two of 10 million rows share a 128-bit hash by chance has a probability below 1e-24. A row takes about 100
    bytes of disk, 280 where near duplicates are sought, and each earlier turn of a dialogue 35.
    """

    def __init__(self) -> None:
        self.database = sqlite3.connect("", isolation_level=None)  # "": a private file, in memory while small
        self.database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self.database.execute("PRAGMA temp_store = FILE")
        self.database.execute("PRAGMA journal_mode = OFF")  # nothing is ever rolled back or read by another
        self._rows: dict[str, list[tuple[object, ...]]] = {"train": [], "eval": []}
        self._turns: dict[str, list[tuple[int, int, int, int]]] = {"train": [], "eval": []}
        self._fields: list[tuple[bool, int, int, int]] = []
        self._field_names: dict[str, int] = {}
        self._bands: list[tuple[int, ...]] = []
        self._contents = Slots(_CONTENTS_BITS)  # copies need not be found by their bands again
        self.counts = {"train": 0, "eval": 0}
        for file in ("train", "eval"):
            self.database.execute(f"CREATE TABLE {file} ({_COLUMNS})")
            self.database.execute(
                f"CREATE TABLE {file}_turns (prompt INTEGER, answer INTEGER, place INTEGER, next INTEGER)"
            )
        self.database.execute(_OPENINGS.format(branches=MAX_BRANCHES))
        self.database.execute("CREATE TABLE fields (of_train INTEGER, field INTEGER, place INTEGER, value INTEGER)")
        self.database.execute("CREATE TABLE bands (value INTEGER, place INTEGER)")
        self.database.execute("CREATE TABLE known (row_key BLOB PRIMARY KEY) WITHOUT ROWID")
        self.database.execute("BEGIN")

    def __enter__(self) -> Keys:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.database.close()

    def is_known(self, row_key: bytes) -> bool:
        """Whether the key was given before."""
        return not self.database.execute("INSERT OR IGNORE INTO known VALUES (?)", (row_key,)).rowcount

    def add(self, file: File, keys: RowKeys) -> None:
        self.counts[file] += 1
        place = self.counts[file]
        row, content, split, label, number, offset, sketch, turn, earlier, fields = keys
        signed = split - 2**63  # as SQLite has integers
        low = sketch.low if sketch else None
        self._rows[file].append((place, row, content, signed, label, number, offset, low, *turn))
        for name, value in fields:
            self._fields.append((file == "train", self._field(name), place, value))
        if earlier:
            self._turns[file] += [(*one, place, after.prompt) for one, after in pairwise((*earlier, turn))]
        if sketch and self._contents.get(copy := int.from_bytes(content[:8])) is None:
            self._contents.put(copy, 1)
            self._bands.append((place, *sketch.bands))
        if place % _PENDING_ROWS == 0:
            self.flush()

    def _field(self, name: str) -> int:
        """The number of a field of answers; 0 of one that comes after too many others."""
        if name not in self._field_names and len(self._field_names) < _FIELDS_MAX:
            self._field_names[name] = len(self._field_names) + 1
        return self._field_names.get(name, 0)

    def take_labels_of_fields(self, rank: Callable[[str], int]) -> None:
        """Give rows the values of one field of their JSON answers as labels, where the answers are no labels.

        Of the fields that sort the rows it is the first by `rank`, then the one with most values.
        """
        self.flush()
        if self._field_names and not find_labels(self.repeated_labels(), self.counts["train"], share=0).few:
            found = []
            for name, field in self._field_names.items():
                values = [LabelCount(*one) for one in self.database.execute(_FIELD_VALUES, (field, MAX_LABELS + 1))]
                if find_labels(values, self.counts["train"], share=0).few:
                    found.append((rank(name), -len(values), name, field))
            for *_, field in sorted(found)[:1]:
                for file in ("train", "eval"):
                    self.database.execute(_TAKE_FIELD.format(file=file), (field, file == "train"))
        self._field_names.clear()

    def flush(self) -> None:
        """Write what waits. Needed before the database is read."""
        for file, rows in self._rows.items():
            self.database.executemany(_INSERT.format(file=file), rows)
            rows.clear()
        for file, turns in self._turns.items():
            self.database.executemany(_INSERT_TURN.format(file=file), turns)
            turns.clear()
        self.database.executemany("INSERT INTO fields VALUES (?, ?, ?, ?)", self._fields)
        self._fields.clear()
        self.database.executemany(_INSERT_BANDS, self._bands)
        self._bands.clear()

    def _read(self, query: str) -> Iterator[tuple[int, int]]:
        self.flush()
        return self.database.execute(query)

    def duplicates(self, file: File) -> Iterator[tuple[int, int]]:
        """Line number and offset of each row that equals an earlier one of its file."""
        return self._read(_DUPLICATES.format(file=file))

    def eval_copies(self) -> int:
        """Rows of the held-out file that ask and answer what another one does, but one of each."""
        self.flush()
        return int(self.database.execute(_EVAL_COPIES).fetchone()[0])

    def overlaps(self) -> Iterator[tuple[int, int]]:
        """Line number and offset of each training row that asks and answers what a held-out row does, in any turn."""
        return self._read(_OVERLAPS.format(overlapping=_OVERLAPPING))

    def same_questions(self) -> Iterator[tuple[int, int]]:
        """Of each other training row that asks what a held-out row does, where one of the two may continue."""
        return self._read(_SAME_QUESTIONS.format(overlapping=_OVERLAPPING))

    def shared_groups(self) -> Iterator[tuple[int, int]]:
        """Of each training row with the split key of a held-out row."""
        return self._read(_SHARED_GROUPS)

    def repeated_labels(self) -> list[LabelCount]:
        """Answers that at least two training rows give, most rows first. A group says, a unit asks the same."""
        return [LabelCount(*found) for found in self.database.execute(_REPEATED_LABELS, (MAX_LABELS + 1,))]

    def count_labels(self, rare: int) -> tuple[int, int]:
        """Different short answers of training rows, and how many of them fewer than `rare` rows give."""
        given, few = self.database.execute(_COUNT_LABELS, (rare,)).fetchone()
        return given, few

    def held_out_labels(self) -> dict[int, int]:
        """Rows of the held-out file by label, most first."""
        return dict(self.database.execute(_HELD_OUT_LABELS, (MAX_LABELS,)).fetchall())

    def unknown_labels(self) -> Iterator[tuple[int, int]]:
        """Line number and offset of each held-out row with a short answer that no training row gives."""
        return self._read(_UNKNOWN_LABELS)
