"""The command line's client against the real API: both agree on every order's path, body and answer."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from fastapi.testclient import TestClient

from cli.client import Api, RequestRefused
from shared.domain.run import Status
from shared.ports import Message, Services
from shared.runner import Runner
from tests.unit.functions.http.support import awaiting_approval, enter, in_production
from tests.unit.functions.http.test_operate_dead_letters import QUEUE, fail_too_often
from tests.unit.shared.support import drop, events_at


class ThroughTestClient(httpx.BaseTransport):
    def __init__(self, client: TestClient) -> None:
        self.client = client

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        headers = dict(request.headers)
        answer = self.client.request(request.method, str(request.url), content=request.read(), headers=headers)
        return httpx.Response(answer.status_code, headers=dict(answer.headers), content=answer.content)


@pytest.fixture
def droptune(client: TestClient) -> Iterator[Api]:
    with Api("http://127.0.0.1", ThroughTestClient(client)) as api:
        yield api


def test_decisions(droptune: Api, services: Services) -> None:
    run = awaiting_approval(services, requested_by=None)
    droptune.deny(run.id, comment="no")
    assert droptune.approve(run.id) == 1, "nobody known asked for it"
    assert [event.short_type() for event in events_at(services, "record_decision")] == [
        "approval.denied",
        "approval.granted",
    ]
    with pytest.raises(RequestRefused, match="run_not_found: no run r-1"):
        droptune.approve("r-1")


def test_retry(droptune: Api, services: Services) -> None:
    run = drop(services, Runner(services))
    assert run is not None
    with pytest.raises(RequestRefused, match="run_not_finished: the run is received"):
        droptune.retry(run.id)
    enter(services, run, Status.FAILED)
    assert droptune.retry(run.id) not in ("", run.id)


def test_endpoints_and_rollback(droptune: Api, services: Services) -> None:
    record = in_production(services)
    (shown,) = droptune.endpoints().data
    assert record.previous is not None
    assert shown.previous is not None
    assert (shown.champion, shown.previous.keep_until) == (record.champion, record.previous.keep_until)
    order = droptune.roll_back("shop")
    assert (order.from_, order.to) == ("d-new", "d-old")


def test_dead_letters_and_replay(droptune: Api, services: Services) -> None:
    services.bus.send(QUEUE, [Message("m1", "Polled", b"{}")])
    fail_too_often(services, QUEUE)
    (found,) = droptune.dead_letters().data
    assert (found.entity, found.count, found.messages[0].id) == (QUEUE, 1, "m1")
    with pytest.raises(RequestRefused, match="dead_letter_not_found"):
        droptune.replay(QUEUE, "m2")
    assert droptune.replay(QUEUE, "m1") == 1
    assert droptune.dead_letters().data == ()


def test_a_comment_that_is_too_long_is_refused_by_name(droptune: Api, services: Services) -> None:
    run = awaiting_approval(services)
    for send in (
        lambda: droptune.approve(run.id, comment="x" * 2001),
        lambda: droptune.roll_back("shop", "x" * 2001),
    ):
        with pytest.raises(RequestRefused, match=r"at most 2000 characters \(comment\)") as refused:
            send()
        assert refused.value.status_code == 400
    assert events_at(services, "record_decision") == []
