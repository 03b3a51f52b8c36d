"""Large files: other processes find what each row shows by itself, and this one does too while it waits for them.

What is found is the same, and passed on in the order of rows.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple

import orjson

from shared.domain.findings import Findings
from shared.domain.recipe import Recipe
from shared.validation import compared
from shared.validation.content.damage import DAMAGED, damage_of
from shared.validation.content.row_scan import ContentPolicy, Dialogue, Found, RowScan
from shared.validation.reader import ReadRow
from shared.validation.rows import Extent, ParsedRow, extent_of, row_of


class Facts(NamedTuple):
    """`found`: in its texts. `label`: as it is written. `fields`: of an answer that is JSON: path, value, label.
    `dialogue` is None if it has no words."""

    found: list[Found]
    content: compared.Content
    label: str
    fields: list[tuple[str, str, int]]
    extent: Extent
    dialogue: Dialogue | None


class FactFinder:
    """`rows` finds what is in texts."""

    def __init__(self, recipe: Recipe, rows: RowScan) -> None:
        self._rows, self._reference = rows, compared.reference_of(recipe)

    def facts(self, row: ParsedRow, *, is_chat: bool, held_out: bool) -> Facts | None:
        """None if the row may have to be redacted first. `is_chat`: it ends with an answer to learn."""
        read = self._rows.find(row.document)
        return None if read is None else self.compared(row, read[0], is_chat=is_chat, held_out=held_out)

    def compared(self, row: ParsedRow, found: list[Found], *, is_chat: bool, held_out: bool) -> Facts:
        """The facts of a row whose texts are known, and redacted where they had to be."""
        statement = None if is_chat or held_out else compared.statement_of(row, self._reference)
        dialogue = self._rows.dialogue(
            row.messages, compared.tools_of(row.document), has_answer=is_chat, held_out=held_out, statement=statement
        )
        values = compared.answer_fields(row, self._reference)
        fields = [(name, value, compared.label_key(f"{name}\0{compared.plain_label(value)}")) for name, value in values]
        label = compared.label_of(row, self._reference)
        answers = [*row.messages, *row.document.get("non_preferred_output", ())]
        missing = not label.strip() or (label == "null" and None in row.item.values())  # reported as a grader's field
        if not is_chat and not missing and answers[-1]["role"] != "assistant":
            answers.append({"role": "assistant", "content": label})  # a prompt's reference
        for kind, number in sorted(dict(reversed([*damage_of(answers)])).items()):
            part = f"messages[{number}].content" if "messages" in row.document and number < len(row.messages) else ""
            found = [*found, (DAMAGED, kind, part)]
        return Facts(found, compared.content_of(row), label, fields, extent_of(row), dialogue)


def policy_of(recipe: Recipe) -> ContentPolicy:
    data = recipe.data
    return ContentPolicy(data.personal_data, frozenset(data.personal_data_allowed), data.secrets)


# Of text that was read before processes are started. One takes a second of processor time to start.
START_BYTES = 4 * 2**20
_BATCH_ROWS, _BATCH_BYTES = 256, 2**20
_BATCHES_OF_PROCESS = 2  # that it has, so that it need not wait for the next one
_WAITING_MAX = 4  # batches for each process, which are held until the oldest of them is known


def useful_processes() -> int:
    """As many as there are processors that this process may use, up to three: more would wait for this one."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(processors, 3)


class ReadAhead(NamedTuple):
    """A row, what was found before it while reading, and what it shows by itself, None if that is not known yet."""

    found: Findings | None
    read: ReadRow
    canonical: bytes
    facts: Facts | None = None


Question = tuple[bytes, bool, bool]  # a row in canonical form, whether it ends with an answer, whether it is held out
Answers = list[Facts | None]


@dataclass(slots=True)
class _Batch:
    """`helper`: that is to answer; None once it has, or has died."""

    rows: list[ReadAhead]
    answers: Answers = field(default_factory=list)
    helper: "_Helper | None" = None

    def known(self) -> Iterator[ReadAhead]:
        while self.helper is not None:
            self.helper.receive()
        if not self.answers:
            return iter(self.rows)
        return (row._replace(facts=facts) for row, facts in zip(self.rows, self.answers, strict=True))


class _Helper:
    """A process that answers in order. Once it has died it answers nothing.

    It has a pipe of its own: a process that is killed leaves no lock of a common queue behind, and no half of an answer
    that this one would wait for (as `concurrent.futures` does).
    """

    def __init__(self, recipe: Recipe) -> None:
        spawn = multiprocessing.get_context("spawn")  # a copy of this process would hold its locks and files
        self._ours, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, recipe), daemon=True)
        self._process.start()
        theirs.close()
        self._requested = deque([_Batch([], helper=self)])  # it begins with an answer, when it is ready
        self._is_ready = False

    @property
    def has_time(self) -> bool:
        while self._requested and self._ours.poll():
            self.receive()
        return self._is_ready and len(self._requested) < _BATCHES_OF_PROCESS

    def ask(self, batch: _Batch) -> None:
        batch.helper = self
        self._requested.append(batch)
        try:
            self._ours.send([_question(row) for row in batch.rows])
        except OSError:
            self._give_up()

    def receive(self) -> None:
        """Wait for the next answer."""
        try:
            answers: Answers = self._ours.recv()
        except (EOFError, OSError):
            self._give_up()
            return
        self._is_ready = True
        batch = self._requested.popleft()
        batch.answers, batch.helper = answers, None

    def _give_up(self) -> None:
        self._is_ready = False
        while self._requested:
            self._requested.popleft().helper = None

    def close(self) -> None:
        self._ours.close()
        self._process.join()


class Ahead:
    """`processes`: this one and those that it starts; 1 starts none. The work of one that dies is done by this process.

    `reading`: what is found while rows are read, which is moved to `findings` in the order of rows. Memory is flat: a
    few batches for each process.
    """

    def __init__(
        self, recipe: Recipe, reading: Findings, findings: Findings, finder: FactFinder, processes: int
    ) -> None:
        self._recipe, self._finder, self._others = recipe, finder, processes - 1
        self._reading, self._findings = reading, findings
        self._helpers: list[_Helper] = []

    def close(self) -> None:
        for helper in self._helpers:
            helper.close()

    def rows(self, rows: Iterable[ReadRow]) -> Iterator[ReadAhead]:
        """Each row in order, once what was found before it has been moved."""
        for row in self._in_order(rows):
            self._move(row.found)
            yield row
        self._move(self._reading.taken())

    def _move(self, found: Findings | None) -> None:
        if found is not None:
            self._findings.merge(found)

    def _in_order(self, rows: Iterable[ReadRow]) -> Iterator[ReadAhead]:
        batch: list[ReadAhead] = []
        size = 0
        waiting: deque[_Batch] = deque()
        for read in rows:
            row = ReadAhead(self._reading.taken(), read, read.row.canonical)
            if not self._helpers:
                if self._others < 1 or read.place.offset < START_BYTES:
                    yield row
                    continue
                self._helpers = [_Helper(self._recipe) for _ in range(self._others)]
            batch.append(row)
            size += len(row.canonical)
            if len(batch) == _BATCH_ROWS or size >= _BATCH_BYTES:
                waiting.append(self._begun(batch))
                batch, size = [], 0
                while waiting and (waiting[0].helper is None or len(waiting) > _WAITING_MAX * self._others):
                    yield from waiting.popleft().known()
        for begun in waiting:
            yield from begun.known()
        yield from batch

    def _begun(self, rows: list[ReadAhead]) -> _Batch:
        """By a process that has time for it; else by this one, at once."""
        batch = _Batch(rows)
        free = [helper for helper in self._helpers if helper.has_time]
        if free:
            free[0].ask(batch)
        else:
            batch.answers = [self._facts(row.read) for row in rows]
        return batch

    def _facts(self, read: ReadRow) -> Facts | None:
        return self._finder.facts(read.row, is_chat=read.is_chat, held_out=read.place.file == "eval")


def _question(row: ReadAhead) -> Question:
    return row.canonical, row.read.is_chat, row.read.place.file == "eval"


# In the other processes.


def _serve(connection: Connection, recipe: Recipe) -> None:
    finder = FactFinder(recipe, RowScan(policy_of(recipe)))
    requests: SimpleQueue[list[Question] | None] = SimpleQueue()
    Thread(target=_read, args=(connection, requests), daemon=True).start()
    with suppress(OSError, KeyboardInterrupt):  # nothing more to do
        connection.send([])
        while (rows := requests.get()) is not None:
            answers: Answers = [
                finder.facts(row_of(orjson.loads(line)), is_chat=is_chat, held_out=held_out)
                for line, is_chat, held_out in rows
            ]
            connection.send(answers)


def _read(connection: Connection, requests: SimpleQueue[list[Question] | None]) -> None:
    """At any time, so that neither process waits for the other to read."""
    with suppress(EOFError, OSError):
        while True:
            requests.put(connection.recv())
    requests.put(None)
