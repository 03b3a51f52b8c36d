"""The alarm on overdue runs listens for the line that `reconcile` really logs."""

from __future__ import annotations

import logging
import re
from dataclasses import replace

import pytest

from functions.stages import stage_functions
from shared.ports import Services
from shared.runner import Runner
from tests.clock import ManualClock
from tests.gate import bicep
from tests.paths import ROOT
from tests.unit.shared.support import drop

INFRA = ROOT / "infra"


def rings(message: str) -> bool:
    """The alert's query on one message: Kusto's `startswith` (no case) and `matches regex` (RE2)."""
    (alert,) = bicep.read(INFRA).of_type("Microsoft.Insights/scheduledQueryRules")
    query = alert.get("properties/criteria/allOf")[0]["query"]
    prefix = re.search(r'Message startswith "([^"]+)"', query)
    pattern = re.search(r'Message matches regex "([^"]+)"', query)
    assert prefix is not None
    assert pattern is not None
    return message.lower().startswith(prefix[1]) and re.search(pattern[1], message) is not None


def reconcile(services: Services, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="functions.timers"):
        stage_functions(lambda: services)["reconcile"](None)
    return [record.getMessage() for record in caplog.records if record.name == "functions.timers"]


def test_an_overdue_run_rings_and_a_tick_that_finds_something_else_does_not(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    run = drop(services, Runner(services))
    assert run is not None
    assert run.deadline_at is not None
    lines = reconcile(replace(services, clock=ManualClock(run.deadline_at)), caplog)
    assert len(lines) == 1
    assert rings(lines[0])
    assert not rings(lines[0].replace("'overdue': 1", "'overdue': 0"))
