"""One loop for all timers: an item that fails, hangs or cannot be read never stops the others."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from shared.domain.errors import DroptuneError, ascii_traceback

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

AT_ONCE = 16
# An item waits for services at most, whose clients give up by themselves; functionTimeout in host.json is 10 minutes.
LIMIT_S = 150.0
_POLL_S = 0.5

_left: set[tuple[str, str]] = set()
"""What still runs although its time was over: (loop, id). It is not begun a second time beside itself."""


@dataclass(slots=True)
class LoopResult(Generic[Result]):
    """What a loop did: results, and problems of the items that failed, each by the item's id."""

    results: dict[str, Result] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Items at which there was something to do."""
        return sum(map(bool, self.results.values()))


def for_each(
    loop: str,
    items: Iterable[Item],
    action: Callable[[Item], Result],
    *,
    id_of: Callable[[Item], str] = str,
    limit_s: float = LIMIT_S,
    now: Callable[[], float] = time.monotonic,
) -> LoopResult[Result]:
    """Do `action` on each item, some at once, in threads; what one raises is logged with its id and counted.

    An item that takes longer than `limit_s` is counted as failed and no longer waited for. Raises what iterating over
    `items` raises, once those begun have ended; they keep what they did.
    """
    summary: LoopResult[Result] = LoopResult()
    running: dict[Future[Result], tuple[str, float]] = {}
    try:
        for item in items:
            id = str(id_of(item))
            if (loop, id) in _left:
                _failed(summary, loop, id, "it still runs since an earlier tick")
                continue
            while len(running) >= AT_ONCE:
                _collect(running, summary, loop, now)
            running[_begin(loop, id, action, item)] = id, now() + limit_s
    finally:
        while running:
            _collect(running, summary, loop, now)
    return summary


def where(predicate: Callable[[Item], object], items: Iterable[Item]) -> Iterator[Item]:
    """The items that `predicate` holds for, and those on which it raises: `for_each` meets what is wrong with them."""
    for item in items:
        try:
            chosen = bool(predicate(item))
        except Exception:
            chosen = True
        if chosen:
            yield item


def _begin(loop: str, id: str, action: Callable[[Item], Result], item: Item) -> Future[Result]:
    """In a thread of its own, which neither a full pool delays nor the end of the process waits for."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(action(item))
        except BaseException as error:  # raised again, or counted, where it is waited for
            future.set_exception(error)

    threading.Thread(target=run, name=f"{loop} {id}", daemon=True).start()
    return future


def _collect(
    running: dict[Future[Result], tuple[str, float]], summary: LoopResult[Result], loop: str, now: Callable[[], float]
) -> None:
    """Wait until one ends or its time is over."""
    ended, _ = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
    for future in ended:
        id, _ = running.pop(future)
        try:
            summary.results[id] = future.result()
        except Exception as error:
            _failed(summary, loop, id, str(error), error)
    for future, (id, ends) in list(running.items()):
        if now() >= ends and not future.done():
            del running[future]
            _left.add((loop, id))
            future.add_done_callback(partial(_ended, (loop, id)))
            _failed(summary, loop, id, "it takes too long and is no longer waited for")


def _ended(key: tuple[str, str], _: Future[Any]) -> None:
    _left.discard(key)


def _failed(summary: LoopResult[Result], loop: str, id: str, problem: str, error: Exception | None = None) -> None:
    summary.failed[id] = problem
    # What is raised on purpose says what is wrong; anything else needs its traceback.
    unforeseen = error if error is not None and not isinstance(error, DroptuneError) else None
    level, trace = (logging.ERROR, ascii_traceback(unforeseen)) if unforeseen else (logging.WARNING, "")
    log.log(level, "%s: %a: %a%s", loop, id, problem, trace)
