"""The table of subscriptions on the dashboard's first page, in a real browser over the real app."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from standardwebhooks import Webhook

from shared.domain.errors import Problem
from shared.records import subscriptions as records
from shared.steps.notify import deliver_notification, delivery
from tests.browser.conftest import Browser, Stack
from tests.receiver import Receiver
from tests.subscriptions import KEYS, subscribe
from tests.unit.shared.steps.failed_run import failed


@pytest.fixture(autouse=True)
def private_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the app is built."""
    monkeypatch.setenv("NOTIFY_PRIVATE_HOSTS", "127.0.0.1")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


def test_the_table_shows_state_and_last_delivery_and_a_button_sends_a_test(
    browser: Browser, stack: Stack, receiver: Receiver
) -> None:
    made = subscribe(stack.services.store, f"{receiver.url}?token=zzz", project="shop")
    off = subscribe(stack.services.store, name="off", type="teams")
    reason = Problem(code="target_gone", message="hooks.example answered 410")
    records.update(stack.services.store, off, lambda one: one.model_copy(update={"disabled": reason}))
    deliver_notification(delivery(failed("run-1").to_cloudevent(), made), stack.services)
    browser.open(stack.server.url)
    browser.one("#subscriptions table")
    rows = [row.text for row in browser.all("#subscriptions tbody tr")]
    assert len(rows) == 2
    assert "disabled: hooks.example answered 410" in rows[0]
    assert "run.failed.v1 delivered, just now" in rows[1]
    assert "zzz" not in "".join(rows)
    receiver.got.clear()
    browser.one(f"tr[data-id='{made.id}'] button").click()
    browser.until(lambda: "204 in " in browser.one(f"tr[data-id='{made.id}'] [role=status]").text or None)
    [(headers, body)] = receiver.got
    assert Webhook(KEYS[0]).verify(body, headers)["type"] == "droptune.subscription.test.v1"
