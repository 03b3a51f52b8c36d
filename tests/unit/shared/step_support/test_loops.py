"""`for_each`: what one item does never changes what becomes of the others."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import BlobNotFound, FailureClass, InvalidInput, PermanentFailure, StoreConflict, Transient
from shared.domain.run import Run
from shared.step_support.loops import AT_ONCE, LoopResult, for_each, where

LONG_S = 60


def unreadable() -> None:
    Run.model_validate({})


FAILURES = [
    InvalidInput("too_large", "256 KB"),
    Transient("azure_ml_down", "503"),
    PermanentFailure(FailureClass.CODE, "no_evaluation", "gone"),
    StoreConflict("a document"),
    BlobNotFound("runs/x"),
    ValueError("half of a surrogate pair: \ud800"),
    KeyError("record"),
    TypeError(),
    AttributeError("x" * 100_000),
    RecursionError(),
    MemoryError(),
    TimeoutError(),
    StopIteration(),
]


@given(
    count=st.integers(1, 3 * AT_ONCE),
    broken=st.dictionaries(st.integers(0, 3 * AT_ONCE), st.sampled_from([*FAILURES, None])),
)
def test_the_others_end_as_without_the_items_that_fail(count: int, broken: dict[int, Exception | None]) -> None:
    def double(number: int) -> int:
        if number not in broken:
            return 2 * number
        if (error := broken[number]) is None:
            unreadable()
        raise error or AssertionError

    summary = for_each("numbers", range(count), double)
    assert summary.results == {str(n): 2 * n for n in range(count) if n not in broken}
    assert summary.failed.keys() == {str(n) for n in range(count) if n in broken}


class Hangs:
    """Items of which the first `hanging` hang. Its time passes once all the others have ended."""

    def __init__(self, loop: str, count: int, hanging: int) -> None:
        self.loop, self.count = loop, count
        self.hanging = {f"{loop} {number}" for number in range(hanging)}
        self.begun: list[int] = []
        self.over = threading.Event()

    def now(self) -> float:
        running = {thread.name for thread in threading.enumerate() if thread.name.startswith(f"{self.loop} ")}
        return 1000.0 if self.begun and running == self.hanging else 0.0

    def work(self, number: int) -> int:
        self.begun.append(number)
        if number < len(self.hanging):
            self.over.wait()
        return number

    def loop_over_all(self) -> LoopResult[int]:
        return for_each(self.loop, range(self.count), self.work, limit_s=LONG_S, now=self.now)


@pytest.mark.parametrize("hanging", [1, AT_ONCE])
def test_items_that_hang_hold_nobody_up_and_are_not_begun_again_beside_themselves(hanging: int) -> None:
    hangs = Hangs(f"{hanging} hang", 2 * AT_ONCE, hanging)
    summary = hangs.loop_over_all()
    assert summary.failed.keys() == {str(n) for n in range(hanging)}
    assert summary.results == {str(n): n for n in range(hanging, 2 * AT_ONCE)}
    again = for_each(hangs.loop, range(hanging + 1), bool)
    assert again.failed.keys() == summary.failed.keys()
    assert again.results == {str(hanging): True}
    hangs.over.set()
    for thread in threading.enumerate():
        if thread.name in hangs.hanging:
            thread.join(LONG_S)
    assert not for_each(hangs.loop, range(hanging), bool).failed


SLOW = AT_ONCE + 2


def test_a_slow_item_is_not_waited_for_and_what_it_raises_is_counted_by_the_next_tick() -> None:
    over, clock = threading.Event(), [0.0]
    others = [str(number) for number in range(SLOW, SLOW + AT_ONCE)]

    def work(number: int) -> int:
        if number < SLOW and not over.is_set():
            over.wait()
            raise Transient("slow_down", "429")
        return number

    def now() -> float:  # the time to wait is over at each look
        clock[0] += 2.0
        return clock[0]

    def tick() -> LoopResult[int]:
        return for_each("slow", range(SLOW + AT_ONCE), work, limit_s=1e6, wait_s=1.0, now=now)

    def ended() -> None:
        for thread in threading.enumerate():
            if thread.name.startswith("slow ") and (over.is_set() or thread.name.split()[1] in others):
                thread.join(LONG_S)

    for _ in range(3):
        summary = tick()
        assert (summary.failed, summary.results.keys() & set(map(str, range(SLOW)))) == ({}, set())
        ended()
    assert sum(thread.name.startswith("slow ") for thread in threading.enumerate()) == SLOW
    clock[0] += 1e6
    assert tick().failed.keys() == set(map(str, range(SLOW)))
    over.set()
    ended()
    after = tick()
    assert set(after.failed.values()) == {"slow_down: 429"}
    assert after.failed.keys() == set(map(str, range(SLOW)))
    ended()
    assert tick().failed == {}


def test_a_list_that_breaks_off_is_an_error_of_the_loop_and_what_was_begun_ends() -> None:
    ended: list[int] = []

    def items() -> Iterator[int]:
        yield from range(5)
        raise Transient("store_down", "503")

    with pytest.raises(Transient):
        for_each("breaks off", items(), ended.append)
    assert sorted(ended) == list(range(5))


def test_the_end_of_the_process_is_no_failure_of_an_item() -> None:
    def end(_: int) -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        for_each("ends", [1], end)


def test_an_item_that_cannot_be_judged_is_left_to_the_loop() -> None:
    assert list(where(lambda number: 10 / number > 3, [0, 1, 2, 5])) == [0, 1, 2]


def test_what_a_loop_found_to_do_is_counted() -> None:
    assert for_each("counts", [0, 1, 2, 3], bool).count == 3
