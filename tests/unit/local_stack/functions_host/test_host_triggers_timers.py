"""Timer triggers: on schedule, never two at once, one host at a time."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

from local_stack.functions_host.host import next_occurrence
from tests.unit.local_stack.functions_host.support import eventually

EVERY_SECOND = "* * * * * *"


def timer_app(handler: Any, schedule: str = "%SCHEDULE%", **options: Any) -> func.FunctionApp:
    app = func.FunctionApp()
    app.timer_trigger(arg_name="timer", schedule=schedule, **options)(handler)
    return app


def five_a_second(schedule: str, after: datetime) -> datetime:
    """A second is the shortest NCRONTAB schedule and a long time in a test."""
    return datetime.fromtimestamp((after.timestamp() * 5 // 1 + 1) / 5, UTC)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("*/10 * * * * *", "2026-01-01T00:00:10"),
        ("30 */5 * * * *", "2026-01-01T00:00:30"),
        ("0 0 3 * * MON-FRI", "2026-01-01T03:00:00"),
        # The 13th that is a Friday, not each 13th and each Friday.
        ("0 0 0 13 * FRI", "2026-02-13T00:00:00"),
    ],
)
def test_ncrontab(schedule, expected):
    thursday = datetime(2026, 1, 1, 0, 0, 0, 500_000, UTC)
    assert next_occurrence(schedule, thursday) == datetime.fromisoformat(expected + "+00:00")


def test_a_timer_fires_on_its_schedule_whatever_it_raises(start_host):
    fired: list[tuple[datetime, func.TimerRequest]] = []

    def tick(timer: func.TimerRequest) -> None:
        fired.append((datetime.now(UTC), timer))
        raise ValueError("the next one comes all the same")

    dues: list[datetime] = []

    def noted(schedule: str, after: datetime) -> datetime:
        dues.append(next_occurrence(schedule, after))
        return dues[-1]

    start_host(timer_app(tick), next_occurrence=noted, SCHEDULE=EVERY_SECOND)
    eventually(lambda: len(fired) >= 2)
    assert dues[0] < dues[1]
    for due, (at, request) in zip(dues, fired[:2], strict=False):
        assert isinstance(request, func.TimerRequest)
        assert due <= at
        assert not request.past_due or at - due > timedelta(seconds=1)


def test_a_timer_never_overlaps_itself(start_host):
    guard = threading.Lock()
    runs: list[bool] = []

    def tick(timer: func.TimerRequest) -> None:
        runs.append(guard.acquire(blocking=False))
        time.sleep(0.3)
        guard.release()

    start_host(timer_app(tick), next_occurrence=five_a_second, SCHEDULE=EVERY_SECOND)
    eventually(lambda: len(runs) >= 3)
    assert all(runs)


def test_two_hosts_fire_once_and_the_other_takes_over(start_host):
    fired: list[tuple[str, int]] = []

    def app_of(host: str) -> func.FunctionApp:
        def tick(timer: func.TimerRequest) -> None:
            fired.append((host, int(time.time() * 5)))

        return timer_app(tick)

    one, _ = start_host(app_of("one"), next_occurrence=five_a_second, SCHEDULE=EVERY_SECOND)
    eventually(lambda: fired)  # it has the lease
    start_host(app_of("two"), next_occurrence=five_a_second, SCHEDULE=EVERY_SECOND)
    eventually(lambda: len(fired) >= 4)
    assert {host for host, _ in fired} == {"one"}
    one.stop()
    eventually(lambda: fired[-1][0] == "two")
    moments = [moment for _, moment in fired]
    assert len(moments) == len(set(moments))


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(days=1)])
def test_a_timer_fires_although_its_clock_was_set_back_while_it_slept(start_host, jump: timedelta):
    fired, moments = threading.Event(), list[datetime]()

    def before_and_after_the_jump(schedule: str, after: datetime) -> datetime:
        moments.append(after)
        return next_occurrence(schedule, after + jump if len(moments) == 1 else after)

    def tick(timer: func.TimerRequest) -> None:
        fired.set()

    start_host(timer_app(tick), next_occurrence=before_and_after_the_jump, SCHEDULE=EVERY_SECOND)
    assert fired.wait(60)


def test_run_on_startup(start_host):
    fired = threading.Event()

    def tick(timer: func.TimerRequest) -> None:
        fired.set()

    start_host(timer_app(tick, "0 0 0 1 1 *", run_on_startup=True))
    assert fired.wait(60)


def test_a_stop_waits_for_the_running_tick(start_host, tmp_path: Path):
    begun, ended = threading.Event(), []

    def tick(timer: func.TimerRequest) -> None:
        begun.set()
        time.sleep(0.5)
        ended.append(1)

    host, _ = start_host(timer_app(tick, "0 0 0 1 1 *", run_on_startup=True))
    assert begun.wait(60)
    assert host.stop()
    assert ended == [1]
