"""Requests and machines by the minute, through the real client."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from shared.domain.errors import Transient
from tests.unit.local_stack.azure_ml.deployed import HELLO, endpoint_with, set_traffic
from tests.unit.local_stack.azure_ml.support import ARM_WORKSPACE, Local, eventually

MINUTE = timedelta(minutes=1)


def had_requests(local: Local, since: datetime, until: datetime) -> bool | None:
    return local.client.had_requests("busy", "blue", since, until)


def age(local: Local, minutes: int) -> None:
    """The deployment and its requests, made older."""
    emulator = local.emulator
    with emulator.store.transaction():
        deployment = emulator.store.find("deployment", "busy/blue")
        created = datetime.fromisoformat(deployment["systemData"]["createdAt"]) - minutes * MINUTE
        deployment["systemData"]["createdAt"] = created.isoformat()
        emulator.store.put("deployment", "busy/blue", deployment)
        emulator.store._execute("update metrics set step = step - ?", minutes)


def test_requests_are_known_once_their_minute_is_over_and_what_is_not_measured_is_unknown(local: Local) -> None:
    endpoint_with(local, "busy", "blue")
    set_traffic(local, "busy", {"blue": 100})
    now = datetime.now(UTC)
    assert had_requests(local, now - MINUTE, now) is None, "it is too young to have been measured"
    local.client.chat("busy", HELLO)
    age(local, 30)
    now = datetime.now(UTC)
    assert had_requests(local, now - 60 * MINUTE, now) is True
    assert had_requests(local, now - 20 * MINUTE, now) is False
    assert had_requests(local, now - 300 * MINUTE, now - 40 * MINUTE) is None, "most of it was before its time"
    age(local, 60 * 24 * 2)
    assert had_requests(local, now - timedelta(days=3), now) is True, "by the hour"
    assert had_requests(local, now - timedelta(days=1.5), now) is False
    assert local.client.had_requests("busy", "green", now - 20 * MINUTE, now) is None


def test_metrics_that_azure_does_not_have_are_refused(local: Local) -> None:
    endpoint_with(local, "measured", "blue")
    query = {"metricnames": "RequestsPerMinute", "interval": "PT1M", "aggregation": "Average"}
    query |= {"api-version": "2024-02-01", "timespan": "2026-11-30T00:00:00Z/2026-11-30T01:00:00Z"}
    url = f"{local.url}{ARM_WORKSPACE}/onlineEndpoints/measured/deployments/blue/providers/Microsoft.Insights/metrics"
    for wrong in ({}, {"metricnames": "Requests"}, {"interval": "PT2M"}, {"aggregation": "Total"}):
        answer = httpx.get(url, params=query | wrong, headers=local.token)
        assert answer.status_code == (400 if wrong else 200), wrong


def test_an_endpoint_is_deleted_with_its_deployments_and_not_while_it_changes(local: Local) -> None:
    endpoint_with(local, "leaves", "blue")
    local.client.begin_delete_endpoint("leaves")
    with pytest.raises(Transient):
        local.client.begin_delete_endpoint("leaves")
    eventually(lambda: local.client.get_endpoint("leaves") is None)
    local.client.begin_delete_endpoint("leaves")
