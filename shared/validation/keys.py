"""Keys of all rows of a dataset, kept on disk: copies, overlaps, and what decides the split."""

import sqlite3
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

from shared.domain.beside import read_beside
from shared.validation.compared import Turn
from shared.validation.content.near_duplicates import Sketch
from shared.validation.labels import MAX_LABELS, LabelCount, find_labels

File = Literal["train", "eval"]
Query = Literal["duplicates", "overlaps", "same_questions", "shared_groups", "unknown_labels", "first_unknown"]
_SQL = read_beside(__file__)
_PENDING_ROWS = 1024
_CONTENTS_MAX = 2**20
# Continuations of one question in a tree of dialogues.
MAX_BRANCHES = 16
_FIELDS_MAX = 64


class RowKeys(NamedTuple):
    """What is kept of a row. `row`, `content`: 128-bit hashes of it and of what it asks and answers. `split`: 64 bits
    that it is held out by. `label`: 64 bits, signed, of a short answer, else 0. `number`, `offset`: of its line; a
    negative number is of a row that the dropped file does not hold. `sketch`: None where no near duplicates are sought.
    `turn`, `earlier`: as of `compared.content_of`. `fields`: of an answer that is JSON, with their labels."""

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
    """Keys of the rows of both files, in a temporary database: memory is flat. Two of 10 million rows share a 128-bit
    hash with a probability below 1e-24. A row takes 100 bytes of disk, 280 with near duplicates, each earlier turn
    35."""

    def __init__(self) -> None:
        self.database = sqlite3.connect("", isolation_level=None)  # "": a private file, in memory while small
        self.database.executescript(_SQL["create"].format(branches=MAX_BRANCHES))
        self._pending: dict[str, list[tuple[object, ...]]] = {table: [] for table in _SQL["insert"]}
        self._field_names: dict[str, int] = {}
        self._contents: set[bytes] = set()  # copies need not be found by their bands again
        self.counts = {"train": 0, "eval": 0}

    def __enter__(self) -> "Keys":
        return self

    def __exit__(self, *_: object) -> None:
        self.database.close()

    def _execute(self, name: str, *values: object) -> sqlite3.Cursor:
        """A statement of `keys.toml`."""
        return self.database.execute(_SQL[name], values)

    def is_known(self, row_key: bytes) -> bool:
        """Whether the key was given before."""
        return not self._execute("know", row_key).rowcount

    def add(self, file: File, keys: RowKeys) -> None:
        self.counts[file] += 1
        place = self.counts[file]
        row, content, split, label, number, offset, sketch, turn, earlier, fields = keys
        signed = split - 2**63  # as SQLite has integers
        low = sketch.low if sketch else None
        self._pending[file].append((place, row, content, signed, label, number, offset, low, *turn))
        for name, value in fields:
            self._pending["fields"].append((file == "train", self._field(name), place, value))
        if earlier:
            turns = ((*one, place, after.prompt) for one, after in pairwise((*earlier, turn)))
            self._pending[f"{file}_turns"] += turns
        if sketch and content not in self._contents:
            if len(self._contents) < _CONTENTS_MAX:
                self._contents.add(content)
            self._pending["bands"].append((place, *sketch.bands))
        if place % _PENDING_ROWS == 0:
            self.flush()

    def _field(self, name: str) -> int:
        """The number of a field of answers; 0 of one that comes after too many others."""
        if name not in self._field_names and len(self._field_names) < _FIELDS_MAX:
            self._field_names[name] = len(self._field_names) + 1
        return self._field_names.get(name, 0)

    def take_labels_of_fields(self, rank: Callable[[str], int]) -> None:
        """Give rows the values of a field of their JSON answers as labels: the first by `rank`, then most values."""
        self.flush()
        if self._field_names and not find_labels(self.repeated_labels(), self.counts["train"], share=0).few:
            found = []
            for name, field in self._field_names.items():
                values = [LabelCount(*one) for one in self._execute("field_values", field, MAX_LABELS + 1)]
                if find_labels(values, self.counts["train"], share=0).few:
                    found.append((rank(name), -len(values), name, field))
            for *_, field in sorted(found)[:1]:
                for file in ("train", "eval"):
                    self.database.execute(_SQL["take_field"].format(file=file), (field, file == "train"))
        self._field_names.clear()

    def flush(self) -> None:
        """Write what waits. Needed before the database is read."""
        for table, rows in self._pending.items():
            self.database.executemany(_SQL["insert"][table], rows)
            rows.clear()

    def rows(self, query: Query, file: File = "train") -> Iterator[tuple[int, int]]:
        """Line number (of `first_unknown` the label) and offset of each row that a query finds, in order."""
        self.flush()
        return self.database.execute(_SQL["rows"][query].format(file=file, overlapping=_SQL["overlapping"]))

    def eval_copies(self) -> int:
        """Rows of the held-out file that ask and answer what another one does, but one of each."""
        self.flush()
        return int(self._execute("eval_copies").fetchone()[0])

    def repeated_labels(self) -> list[LabelCount]:
        """Answers that at least two training rows give, most rows first. A group says, a unit asks the same."""
        return [LabelCount(*found) for found in self._execute("repeated_labels", MAX_LABELS + 1)]

    def count_labels(self, rare: int) -> tuple[int, int]:
        """Different short answers of training rows, and how many of them fewer than `rare` rows give."""
        given, few = self._execute("count_labels", rare).fetchone()
        return given, few

    def held_out_labels(self) -> dict[int, int]:
        """Rows of the held-out file by label, most first."""
        return dict(self._execute("held_out_labels", MAX_LABELS).fetchall())
