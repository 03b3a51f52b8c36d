"""A host that is away while its run is followed."""

from __future__ import annotations

import itertools

import httpx
import pytest

from cli.client import Api, RequestRefused, Unreachable
from cli.follow import UNREACHABLE_AFTER_S, follow, next_run
from shared.domain.run import Status
from tests.unit.cli.fake_api import RUN_ID, life


class Outage(httpx.BaseTransport):
    """Answers the first request, is away for `failures`, then shows the end."""

    def __init__(self, failures: int) -> None:
        self.failures, self.requests = failures, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        if 1 < self.requests <= 1 + self.failures:
            raise httpx.ConnectError("refused", request=request)
        first, last = life(Status.RECEIVED, Status.REJECTED)
        run = first if self.requests == 1 else last
        return httpx.Response(200, json=run.model_dump(mode="json"), headers={"etag": str(run.revision)})


def test_a_host_that_restarts_is_waited_for() -> None:
    with Api("http://droptune.test", Outage(2)) as api:
        updates = list(follow(api, RUN_ID, tick_s=0.01))
    assert [update.reachable for update in updates] == [True, False, False, True]
    assert updates[-1].run.status == Status.REJECTED


def test_a_host_that_stays_away_ends_the_watch() -> None:
    clock = itertools.count(0.0, UNREACHABLE_AFTER_S / 4)  # a quarter of it passes from one look to the next
    with Api("http://droptune.test", Outage(10**6)) as api, pytest.raises(Unreachable):
        list(follow(api, RUN_ID, tick_s=0.0, clock=clock.__next__))


def test_a_drop_that_waits_for_a_place_in_its_project_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/runs":
            return httpx.Response(200, json={"data": [], "next": None})
        error = {"code": "run_waits", "message": "20 runs of shop are being validated or trained", "param": RUN_ID}
        return httpx.Response(409, json={"error": error})

    monkeypatch.setattr("cli.follow.NEW_RUN_WITHIN_S", 0.0)
    with (
        Api("http://droptune.test", httpx.MockTransport(answer)) as api,
        pytest.raises(RequestRefused, match="run_waits: 20 runs of shop"),
    ):
        next_run(api, "shop", lambda _: True, RUN_ID)
