"""Which services answer: asked seldom, never for longer than some seconds, and without a word of an error."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from shared.domain.errors import InvalidInput, Transient
from shared.health import ready
from shared.health.ready import Readiness
from shared.ports import RunStore, Services

START = datetime(2026, 12, 1, tzinfo=UTC)


class Store:
    """A store that counts what is asked of it, and fails or waits when told."""

    def __init__(self) -> None:
        self.calls, self.fails, self.go_on = 0, False, threading.Event()
        self.go_on.set()

    def get(self, partition: str, id: str) -> None:
        self.calls += 1
        self.go_on.wait()
        if self.fails:
            raise Transient("unanswered", "account-key=secret")


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def failing(services: Services, store: Store) -> Services:
    return replace(services, store=cast(RunStore, store))


def states(found: tuple[Any, ...]) -> dict[str, bool]:
    return {one.name: one.ok for one in found}


def test_each_service_that_answers_is_told_apart_from_one_that_does_not(failing: Services) -> None:
    found = Readiness().check(lambda: failing)  # no Azure ML runs here
    assert states(found) == {"run_store": True, "event_bus": True, "blobs": True, "azure_ml": False}
    assert [one.last_success_at is not None for one in found] == [True, True, True, False]


def test_a_service_that_fails_has_the_time_of_its_last_success(failing: Services, store: Store) -> None:
    now = [START]
    readiness = Readiness(lambda: now[0])
    readiness.check(lambda: failing)
    store.fails, now[0] = True, START + timedelta(seconds=60)
    found = readiness.check(lambda: failing)[0]
    assert (found.name, found.ok, found.last_success_at) == ("run_store", False, START)
    assert "secret" not in found.model_dump_json()


def test_nobody_has_a_service_asked_more_often_than_every_ten_seconds(failing: Services, store: Store) -> None:
    now = [START]
    readiness = Readiness(lambda: now[0])
    for second in range(25):
        now[0] = START + timedelta(seconds=second)
        readiness.check(lambda: failing)
    assert store.calls == 3


def test_a_service_that_hangs_is_not_asked_again_and_the_others_are_told(
    failing: Services, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [START]
    readiness = Readiness(lambda: now[0])
    monkeypatch.setattr(ready, "WITHIN_S", 0.2)
    store.go_on.clear()
    for second in range(0, 60, 15):
        now[0] = START + timedelta(seconds=second)
        found = states(readiness.check(lambda: failing))
    assert (store.calls, found["run_store"]) == (1, False)
    store.go_on.set()
    monkeypatch.setattr(ready, "WITHIN_S", 60)
    assert states(readiness.check(lambda: failing))["run_store"]


def test_an_app_that_cannot_read_its_settings_is_not_ready() -> None:
    def build() -> Services:
        raise InvalidInput("bad_settings", "WEBHOOK_SECRET: whsec_...")

    found = Readiness().check(build)
    assert [one.model_dump() for one in found] == [{"name": "settings", "ok": False, "last_success_at": None}]
