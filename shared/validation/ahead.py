"""Large files: rows are read ahead, and other processes find what each shows by itself. What is found is the same."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, NamedTuple

import orjson

from shared.domain.findings import Findings
from shared.domain.recipe import Recipe
from shared.validation.content.row_scan import RowScan
from shared.validation.facts import FactFinder, Facts, policy_of
from shared.validation.reader import ReadRow
from shared.validation.rows import row_of

# Of text that was read before processes are started, which takes two seconds.
START_BYTES = 32 * 2**20
_BATCH_ROWS, _BATCH_BYTES = 256, 2**20


def useful_processes() -> int:
    """As many as there are processors that this process may use; more than three have to wait for it."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(processors, 3)


class HeldFindings(Findings):
    """Findings of rows that are read ahead, which are passed on in the order of rows."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._held: list[Callable[[], None]] = []

    def add(self, *values: Any, **more: Any) -> None:
        self._held.append(partial(self._findings.add, *values, **more))

    def add_many(self, *values: Any, **more: Any) -> None:
        self._held.append(partial(self._findings.add_many, *values, **more))

    def count(self, *values: Any, **more: Any) -> None:
        self._held.append(partial(self._findings.count, *values, **more))

    def take(self) -> list[Callable[[], None]]:
        """What was held since this was last called."""
        held, self._held = self._held, []
        return held


class ReadAhead(NamedTuple):
    """A row, what was found before it while reading, and what it shows by itself, None if that is not known yet."""

    held: list[Callable[[], None]]
    read: ReadRow
    facts: Facts | None = None


Question = tuple[bytes, bool, bool]  # a row in canonical form, whether it ends with an answer, whether it is held out


class _Helper:
    """A process that answers one batch at a time. Once it has died it answers nothing.

    It has a pipe of its own: a process that is killed leaves no lock of a common queue behind.
    """

    def __init__(self, recipe: Recipe) -> None:
        spawn = multiprocessing.get_context("spawn")  # a copy of this process would hold its locks and files
        self._ours, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, recipe), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, rows: list[Question]) -> None:
        with suppress(OSError):
            self._ours.send(rows)

    def answer(self, count: int) -> list[Facts | None]:
        """Facts of the rows that were requested last, of which there are `count`."""
        try:
            found: list[Facts | None] = self._ours.recv()
        except (EOFError, OSError):
            return [None] * count
        return found

    def close(self) -> None:
        self._ours.close()
        self._process.join()


class Ahead:
    """`processes`: 1 starts none. The work of one that dies is done by this process.

    Memory is flat: each process has one batch, and this one another.
    """

    def __init__(self, recipe: Recipe, held: HeldFindings, processes: int) -> None:
        self._recipe, self._held, self._processes = recipe, held, processes
        self._helpers: list[_Helper] = []

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for helper in self._helpers:
            helper.close()

    def rows(self, rows: Iterable[ReadRow]) -> Iterator[ReadAhead]:
        """Each row in order. What is found behind the last one is passed on at the end."""
        batch: list[ReadAhead] = []
        questions: list[Question] = []
        size = 0
        waiting: deque[tuple[list[ReadAhead], _Helper]] = deque()
        for read in rows:
            row = ReadAhead(self._held.take(), read)
            is_early = not batch and not self._helpers and read.place.offset < START_BYTES
            if self._processes < 2 or is_early:
                yield row
                continue
            batch.append(row)
            questions.append((read.row.canonical, read.is_chat, read.place.file == "eval"))
            size += len(questions[-1][0])
            if len(batch) == _BATCH_ROWS or size >= _BATCH_BYTES:
                yield from self._exchanged(waiting, batch, questions)
                batch, questions, size = [], [], 0
        for requested, helper in waiting:
            yield from _known(requested, helper)
        yield from batch
        for pass_on in self._held.take():
            pass_on()

    def _exchanged(
        self, waiting: deque[tuple[list[ReadAhead], _Helper]], batch: list[ReadAhead], questions: list[Question]
    ) -> list[ReadAhead]:
        """Hand a batch over, and take the oldest one where every process has one."""
        if not self._helpers:
            self._helpers = [_Helper(self._recipe) for _ in range(self._processes)]
        known: list[ReadAhead] = []
        helper = self._helpers[len(waiting) % len(self._helpers)]
        if len(waiting) == len(self._helpers):
            requested, helper = waiting.popleft()
            known = _known(requested, helper)
        helper.ask(questions)
        waiting.append((batch, helper))
        return known


def _known(requested: list[ReadAhead], helper: _Helper) -> list[ReadAhead]:
    facts = helper.answer(len(requested))
    return [row._replace(facts=found) for row, found in zip(requested, facts, strict=True)]


# In the other processes.


def _serve(requested: Connection, recipe: Recipe) -> None:
    finder = FactFinder(recipe, RowScan(policy_of(recipe)))
    with suppress(EOFError, OSError, KeyboardInterrupt):  # nothing more to do
        while True:
            rows: list[Question] = requested.recv()
            requested.send(
                [
                    finder.facts(row_of(orjson.loads(line)), is_chat=is_chat, held_out=held_out)
                    for line, is_chat, held_out in rows
                ]
            )
