"""One loop for all timers: an item that fails, hangs or cannot be read never stops the others."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from shared.domain.errors import DroptuneError, ascii_traceback

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

AT_ONCE = 16
# An item waits for services at most, whose clients give up by themselves; functionTimeout in host.json is 10 minutes.
LIMIT_S = 150.0
_POLL_S = 0.5

_Running = dict[Future[Any], tuple[str, float, float]]  # id, how long it is waited for, when its time is over
_left: dict[tuple[str, str], tuple[Future[Any], float]] = {}
"""By (loop, id): what its loop did not wait for, and when its time is over. It is not begun beside itself."""


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
    wait_s: float | None = None,
    now: Callable[[], float] = time.monotonic,
) -> LoopResult[Result]:
    """Do `action` on each item, some at once, in threads; what one raises is logged with its id and counted.

    One is waited for `wait_s`, or else `limit_s`, and then goes on by itself: the next call with this `loop` counts
    what it raised. It is counted as failed once it takes longer than `limit_s`. Raises what iterating over `items`
    raises, once those begun have ended; they keep what they did.
    """
    summary: LoopResult[Result] = LoopResult()
    _collect_left(summary, loop)
    running: _Running = {}
    wait_s = limit_s if wait_s is None else wait_s
    try:
        for item in items:
            id = str(id_of(item))
            if (loop, id) in _left:
                if now() >= _left[loop, id][1]:
                    _failed(summary, loop, id, "it still runs since an earlier tick")
                continue
            while len(running) >= AT_ONCE:
                _collect(running, summary, loop, now)
            begun = now()
            running[_begin(loop, id, action, item)] = id, begun + wait_s, begun + limit_s
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


def _collect(running: _Running, summary: LoopResult[Any], loop: str, now: Callable[[], float]) -> None:
    """Wait until one ends or is not to be waited for any longer."""
    ended, _ = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
    for future in ended:
        id, *_ = running.pop(future)
        try:
            summary.results[id] = future.result()
        except Exception as error:
            _failed(summary, loop, id, str(error), error)
    for future, (id, waited_until, ends) in list(running.items()):
        if now() >= waited_until and not future.done():
            del running[future]
            _left[loop, id] = future, ends
            if waited_until >= ends:
                _failed(summary, loop, id, "it takes too long and is no longer waited for")


def _collect_left(summary: LoopResult[Any], loop: str) -> None:
    """What an earlier call did not wait for and has ended since; its success was nobody's to wait for."""
    for key, (future, _) in list(_left.items()):
        if key[0] == loop and future.done():
            del _left[key]
            if (error := future.exception()) is not None:
                _failed(summary, loop, key[1], str(error), error)


def _failed(summary: LoopResult[Result], loop: str, id: str, problem: str, error: BaseException | None = None) -> None:
    summary.failed[id] = problem
    # What is raised on purpose says what is wrong; anything else needs its traceback.
    unforeseen = error if error is not None and not isinstance(error, DroptuneError) else None
    level, trace = (logging.ERROR, ascii_traceback(unforeseen)) if unforeseen else (logging.WARNING, "")
    log.log(level, "%s: %a: %a%s", loop, id, problem, trace)
