"""What is kept of receivers that refused for good."""

from __future__ import annotations

from datetime import timedelta

from shared.domain.errors import Problem
from shared.ports import Services
from shared.records import channels
from tests.clock import ManualClock

GONE = Problem(code="webhook_gone", message="hooks.example answered 410")
FORBIDDEN = Problem(code="webhook_not_allowed", message="other.example: only https at port 443")


def test_a_channel_is_gone_for_a_week_and_another_is_not(services: Services, clock: ManualClock) -> None:
    channels.refuse(services.store, "https://hooks.example/token", GONE, clock.now())
    channels.refuse(services.store, "https://other.example:8443/token", FORBIDDEN, clock.now())
    at = f"{clock.now():%Y-%m-%dT%H:%M:%S}"
    listed = {f"hooks.example answered 410 at {at}", f"other.example: only https at port 443 at {at}"}
    assert set(channels.refused(services.store)) == listed
    gone = [channels.is_gone(services.store, f"https://{one}/token") for one in ("hooks.example", "other.example:8443")]
    assert gone == [True, False]
    channels.refuse(services.store, "https://hooks.example/token", GONE, clock.now())
    clock.advance(timedelta(days=7).total_seconds() + 1)
    assert not channels.is_gone(services.store, "https://hooks.example/token")
    assert list(channels.refused(services.store)) == []
