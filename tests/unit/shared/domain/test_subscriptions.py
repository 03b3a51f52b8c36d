"""Which events a subscription wants, and what is shown of its target."""

from __future__ import annotations

import pytest

from shared.domain.events import EVENT_TYPES, SubscriptionDisabled, parse_event
from shared.domain.recipe import DEFAULT_NOTIFY_EVENTS
from shared.domain.subscriptions import unknown_events
from tests.subscriptions import subscription
from tests.unit.shared.steps.failed_run import failed


@pytest.mark.parametrize(
    ("url", "shown", "host"),
    [
        ("https://hooks.example.org/T0/B1/token", "https://hooks.example.org/***", "hooks.example.org"),
        ("https://hooks.example.org?token=x", "https://hooks.example.org/***", "hooks.example.org"),
        ("https://hooks.example.org#token", "https://hooks.example.org/***", "hooks.example.org"),
        ("https://jane:token@hooks.example.org:8443/x", "https://hooks.example.org:8443/***", "hooks.example.org"),
        ("http://[::1]:80", "http://[::1]:80/***", "::1"),
        ("https://BÜCHER.example/x", "https://BÜCHER.example/***", "xn--bcher-kva.example"),
    ],
)
def test_of_a_masked_target_scheme_host_and_port_are_left(url: str, shown: str, host: str) -> None:
    target = subscription(url).target
    assert (target.masked().url, target.host) == (shown, host)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("run.failed", None),
        ("model.*", None),
        ("*", None),
        ("Run.failed", "no event is named Run.failed; did you mean run.failed"),
        ("models.*", "no event is named models.*; docs/reference/events.md lists them"),
        ("", "no event is named ; docs/reference/events.md lists them"),
    ],
)
def test_a_pattern_that_no_event_has_is_named_with_the_nearest(pattern: str, message: str | None) -> None:
    found = [*unknown_events([pattern])]
    assert found[0].startswith(message) if message else found == [], found


@pytest.mark.parametrize(("severity", "count"), [("info", len(EVENT_TYPES)), ("warning", 17), ("error", 5)])
def test_a_severity_leaves_out_what_is_less(severity: str, count: int) -> None:
    made = subscription(severity=severity)
    assert len([cls for cls in EVENT_TYPES.values() if made.wants(cls.model_construct())]) == count


def test_the_default_events_are_events_and_leave_most_out() -> None:
    assert [*unknown_events(DEFAULT_NOTIFY_EVENTS)] == []
    quiet = subscription(events=DEFAULT_NOTIFY_EVENTS)
    assert quiet.wants(failed("run-1").data)
    assert len(DEFAULT_NOTIFY_EVENTS) < len(EVENT_TYPES) / 2


def test_an_event_about_a_subscription_is_about_no_run() -> None:
    made = subscription(project="shop")
    fact = SubscriptionDisabled(subscription="ops", target="webhook", reason={"code": "a", "message": "b"})
    event = made.event(fact, made.created_at, "1")
    assert (event["subject"], event["source"], event["severity"]) == (made.id, "/projects/shop", "error")
    assert not {"runid", "attempt", "revision"} & event.keys()
    assert parse_event(event).data == fact
    assert subscription().event(fact, made.created_at, "1")["source"] == "/projects/*"
