"""Requests and machines by the minute, through the real client."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from shared.domain.errors import Transient
from shared.domain.jobs import RequestStats
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


def test_requests_are_told_apart_by_what_clients_got_and_what_containers_said(local: Local) -> None:
    endpoint_with(local, "codes", "blue", "green")
    set_traffic(local, "codes", {"blue": 100})
    local.client.chat("codes", HELLO)
    answered = ((200, "200"), (424, "500"), (424, "400"), (503, ""), (408, ""), (429, ""), (404, ""))
    for number, (status, inner) in enumerate(answered):
        local.emulator.monitor.count("codes", "blue", status, inner, 0.1 * (number + 1))
    local.emulator.monitor.count("codes", "green", 500, "", 9.0)
    with local.emulator.store.transaction():
        local.emulator.store._execute("update metrics set step = step - 30")
    now = datetime.now(UTC)
    stats = local.client.request_stats("codes", "blue", now - 60 * MINUTE, now)
    assert (stats.requests, stats.failed) == (8, 3), (
        "container failed, no answer, too late; others ask badly or too much"
    )
    assert stats.latency_s is not None
    assert 0.1 <= stats.latency_s <= 0.5
    assert local.client.request_stats("codes", "blue", now - 20 * MINUTE, now) == RequestStats(requests=0, failed=0)
    assert local.client.request_stats("codes", "none", now - 60 * MINUTE, now) == RequestStats(requests=0, failed=0)


def test_of_many_series_ten_are_answered_unless_more_are_asked_for(local: Local) -> None:
    endpoint_with(local, "many", "blue")
    for status in range(400, 415):
        local.emulator.monitor.count("many", "blue", status, "", 0.1)
    with local.emulator.store.transaction():
        local.emulator.store._execute("update metrics set step = step - 30")
    now = datetime.now(UTC)
    query = {"metricnames": "RequestsPerMinute", "interval": "PT1M", "aggregation": "Average", "top": "100"}
    query |= {"api-version": "2024-02-01", "$filter": "statusCode eq '*'"}
    query |= {"timespan": "/".join(f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in (now - 60 * MINUTE, now))}
    url = f"{local.url}{ARM_WORKSPACE}/onlineEndpoints/many/providers/Microsoft.Insights/metrics"
    for top, count in (("100", 15), (None, 10)):
        arguments = {name: value for name, value in (query | {"top": top}).items() if value}
        [metric] = httpx.get(url, params=arguments, headers=local.token).json()["value"]
        assert len(metric["timeseries"]) == count
    refused = (
        {"$filter": "instanceId eq '*'"},
        {"$filter": "statusCode ne '200'"},
        {"metricnames": "RequestLatency_P50"},
    )
    for wrong in refused:
        assert httpx.get(url, params=query | wrong, headers=local.token).status_code == 400, wrong


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
