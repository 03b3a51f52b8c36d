"""What only the embedded bus promises: its file, other processes, sudden death."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from shared.embedded.bus import SqliteEventBus
from shared.ports import Message, ReceivedMessage
from tests.clock import JUMPS, ManualClock
from tests.contract.threads import until_in
from tests.contract.topology import TOPOLOGY
from tests.unit.shared.embedded.support import accepted_before_kill, open_bus, program, receive


def test_messages_accepted_before_kill_9_are_delivered_in_order(tmp_path: Path) -> None:
    accepted = accepted_before_kill(
        tmp_path,
        """
bus, n = bus(), 0
while True:
    bus.send("orders", [Message(f"m{n}", "passed", b"x" * 1000)])
    print(f"m{n}", flush=True)
    n += 1
""",
    )
    bus = open_bus(tmp_path)
    received = [one.message.id for one in receive(bus)]
    assert received[: len(accepted)] == accepted
    assert len(received) - len(accepted) <= 1
    bus.close()


def test_what_was_completed_before_kill_9_is_not_delivered_again(tmp_path: Path) -> None:
    bus = open_bus(tmp_path)
    bus.send("orders", [Message(f"m{n}", "passed", b"") for n in range(2000)])
    completed = accepted_before_kill(
        tmp_path,
        """
bus = bus()
while True:
    [one] = bus.receive("orders", max_messages=1, wait_s=60)
    bus.complete(one)
    print(one.message.id, flush=True)
""",
    )
    remaining = bus.depth("orders")
    assert 2000 - len(completed) - remaining in (0, 1)
    assert not {one.message.id for one in receive(bus)} & set(completed)
    bus.close()


def test_a_lock_that_another_process_takes_while_this_one_looks_is_kept(tmp_path: Path) -> None:
    """It ends later than a lock that begins when this one looked at its clock, as one of the future does."""
    clock, taken = ManualClock(), list[ReceivedMessage]()
    other = SqliteEventBus(tmp_path / "bus.db", TOPOLOGY, clock)
    other.send("orders", [Message("first", "passed", b"")])

    class InterruptedClock(ManualClock):
        def now(self) -> datetime:
            before = clock.now()
            if not taken:
                clock.advance(1)
                taken.extend(other.receive("orders", max_messages=1, wait_s=0))
            return before

    bus = SqliteEventBus(tmp_path / "bus.db", TOPOLOGY, InterruptedClock())
    assert receive(bus) == []
    other.complete(taken[0])
    bus.close()
    other.close()


def test_locks_and_schedules_survive_the_process_that_made_them(tmp_path: Path) -> None:
    clock = ManualClock()
    first = SqliteEventBus(tmp_path / "bus.db", TOPOLOGY, clock)
    due = clock.now() + timedelta(seconds=9)
    first.send("orders", [Message("held", "passed", b""), Message("later", "passed", b"", scheduled_at=due)])
    [held] = receive(first)
    first.close()
    second = SqliteEventBus(tmp_path / "bus.db", TOPOLOGY, clock)
    assert receive(second) == []  # closing released nothing
    second.complete(second.renew_lock(held))  # the token is all it takes
    clock.advance(10)
    [later] = receive(second)
    assert (later.message.id, later.enqueued_at, later.message.scheduled_at) == ("later", due, due)
    second.close()


def test_processes_share_a_queue_and_no_message(tmp_path: Path) -> None:
    work = """
import pathlib
bus, received, all_sent = bus(), [], False
while received or not all_sent:
    all_sent = pathlib.Path(folder, "all sent").exists()
    received = bus.receive("orders", max_messages=5, wait_s=0.1)
    for one in received:
        bus.complete(one)
        print(one.message.id, one.delivery_count)
"""
    bus = open_bus(tmp_path)
    with program(tmp_path, work) as one, program(tmp_path, work) as other:
        for n in range(300):
            bus.send("orders", [Message(f"m{n}", "passed", b"")])
        (tmp_path / "all sent").touch()
        outputs = [process.communicate(timeout=120)[0].split("\n")[:-1] for process in (one, other)]
    assert sorted(outputs[0] + outputs[1]) == sorted(f"m{n} 1" for n in range(300))
    assert bus.depth("orders") == 0
    bus.close()


def test_a_message_of_another_process_is_noticed_soon(tmp_path: Path) -> None:
    bus = open_bus(tmp_path)
    with program(tmp_path, 'bus().send("orders", [Message("m1", "passed", b"")])'):
        [received] = receive(bus, wait_s=120)
    assert received.message.id == "m1"
    bus.close()


def test_closing_ends_a_wait_and_refuses_what_comes_later(tmp_path: Path) -> None:
    bus = open_bus(tmp_path)
    got: list[list[ReceivedMessage]] = []
    receiver = threading.Thread(target=lambda: got.append(receive(bus, wait_s=200)))
    receiver.start()
    until_in(receiver, "wait")
    bus.close()
    bus.close()
    receiver.join(timeout=100)
    assert got == [[]]
    with pytest.raises(RuntimeError, match=r"bus\.db is closed"):
        bus.depth("orders")


@pytest.mark.parametrize("jump_s", JUMPS)
def test_locks_of_dead_processes_and_schedules_end_no_later_although_the_clock_jumped(
    tmp_path: Path, jump_s: float
) -> None:
    clock = ManualClock()
    bus = SqliteEventBus(tmp_path / "bus.db", TOPOLOGY, clock)
    due = clock.now() + timedelta(seconds=9)
    bus.send("orders", [Message("held", "passed", b""), Message("later", "passed", b"", scheduled_at=due)])
    assert [one.message.id for one in receive(bus)] == ["held"]
    clock.advance(jump_s)
    clock.advance(TOPOLOGY.lock_duration_s + 9)
    assert {one.message.id for one in receive(bus)} == {"held", "later"}
    bus.close()


def test_without_a_jump_a_lock_and_a_schedule_hold_to_their_last_second(tmp_path: Path) -> None:
    clock = ManualClock()
    bus = SqliteEventBus(tmp_path / "bus.db", TOPOLOGY, clock)
    due = clock.now() + timedelta(days=3)
    bus.send("orders", [Message("held", "passed", b""), Message("later", "passed", b"", scheduled_at=due)])
    [held] = receive(bus)
    clock.advance(TOPOLOGY.lock_duration_s - 1)
    assert receive(bus) == []
    bus.complete(held)
    clock.advance(3 * 24 * 3600 - TOPOLOGY.lock_duration_s)
    assert receive(bus) == []
    clock.advance(1)
    assert [one.message.id for one in receive(bus)] == ["later"]
    bus.close()
