"""The emulator as a program of its own."""

from __future__ import annotations

import json
import signal

from tests.unit.local_stack.azure_ml.restarted import group_of
from tests.unit.local_stack.azure_ml.support import Process, eventually, finished, is_running, job, started


def test_an_orderly_stop_leaves_no_process_behind(process: Process) -> None:
    process.client.submit(job("stopped", "sleep 60"))
    started(process.client, "stopped")
    group = group_of(process, "stopped")
    process.kill(signal.SIGTERM)
    eventually(lambda: not is_running(group))


def test_events_reach_the_queue_job_events_of_the_bus(process: Process) -> None:
    bus = process.root / "bus.db"
    process.kill(signal.SIGTERM)
    process.arguments += ("--event-bus", f"sqlite:////{str(bus).lstrip('/')}")
    process.start()
    process.client.submit(job("tells", "true"))
    finished(process.client, "tells")

    def completed() -> bool:
        from shared.services import build_event_bus

        received = build_event_bus(f"sqlite:////{str(bus).lstrip('/')}").receive(
            "job-events", max_messages=20, wait_s=0
        )
        types = [json.loads(item.message.body)["type"].rsplit(".", 1)[1] for item in received]
        return "RunCompleted" in types

    eventually(completed)
