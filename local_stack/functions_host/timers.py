"""Timer triggers: NCRONTAB in UTC, never two at once, one process at a time."""

import json
import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from azure.functions.meta import Datum
from croniter import croniter

from local_stack.functions_host.loading import LocalFunction, TimerTrigger, decode, log_invocation
from local_stack.worker import Worker

logger = logging.getLogger("local_stack.host")

_LONGEST_SLEEP_S = 5.0  # a laptop that slept, or whose clock was set forwards or back, is noticed within this time
_PAST_DUE_S = 1.0

NextOccurrence = Callable[[str, datetime], datetime]


def next_occurrence(schedule: str, after: datetime) -> datetime:
    """The first moment after `after`; unlike in cron, a day must match both day fields of NCRONTAB."""
    moment = croniter(schedule, after, second_at_beginning=True, day_or=False).get_next(datetime)
    assert isinstance(moment, datetime)
    return moment


class TimerRunner(Worker):
    """Fires one function while it holds the function's lease, a file in `folder` shared by all hosts."""

    def __init__(
        self, function: LocalFunction, folder: Path, lease_retry_s: float, next_occurrence: NextOccurrence
    ) -> None:
        assert isinstance(function.trigger, TimerTrigger)
        super().__init__(f"timer-{function.name}")
        self._function, self._trigger = function, function.trigger
        self._lease_retry_s, self._next_occurrence = lease_retry_s, next_occurrence
        self._lease = folder / f"{function.name}.lease"

    def _run(self) -> None:
        # SQLite's exclusive lock is a file lock that works on every system and ends with its process.
        with closing(sqlite3.connect(self._lease, timeout=0, isolation_level=None)) as lease:
            while not self._take(lease):
                if self._stopping.wait(self._lease_retry_s):
                    return
            if self._trigger.runOnStartup:
                self._fire(datetime.now(UTC))
            while True:
                due = self._sleep_until_next()
                if self._stopping.is_set():
                    return
                self._fire(due)

    @staticmethod
    def _take(lease: sqlite3.Connection) -> bool:
        try:
            lease.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            return False
        return True

    def _sleep_until_next(self) -> datetime:
        """The moment that was due; sooner if the host stops. After the clock was set back an earlier one is due."""
        due = self._next_occurrence(self._trigger.schedule, datetime.now(UTC))
        while (left_s := (due - (now := datetime.now(UTC))).total_seconds()) > 0:
            if left_s > _LONGEST_SLEEP_S:
                due = min(due, self._next_occurrence(self._trigger.schedule, now))
            if self._stopping.wait(min(left_s, _LONGEST_SLEEP_S)):
                break
        return due

    def _fire(self, due: datetime) -> None:
        started = time.perf_counter()
        now = datetime.now(UTC)
        following = next_occurrence(self._trigger.schedule, now)
        info = {
            "IsPastDue": (now - due).total_seconds() > _PAST_DUE_S,
            "Schedule": {"AdjustForDST": True},
            "ScheduleStatus": {"Last": due.isoformat(), "Next": following.isoformat()},
        }
        failure: BaseException | None = None
        try:
            self._function(decode("timerTrigger", Datum(json.dumps(info), "json")))
        except BaseException as error:  # the next tick comes whatever this one did
            failure = error
        outcome = "failed" if failure else "succeeded"
        log_invocation(self._function.name, due.isoformat(), outcome, started, error=failure)
