"""Autoscale settings of deployments: what is refused, and how many machines there are then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from shared.clients.azure_ml.wire import autoscale
from tests.published_types import AUTOSCALE
from tests.unit.local_stack.azure_ml.deployed import endpoint_with
from tests.unit.local_stack.azure_ml.support import ARM_WORKSPACE, Local, deployment

GROUP = ARM_WORKSPACE.split("/providers/")[0]
NOW = 1_800_000_000.0


def of(local: Local, endpoint: str, **changes: Any) -> dict[str, Any]:
    """The body of the product for a deployment of one to three machines."""
    target = f"{ARM_WORKSPACE}/onlineEndpoints/{endpoint}/deployments/blue"
    spec = deployment(endpoint, "blue", "champion:1", **{"max_instances": 3, "scale_out_above": 70.0, **changes})
    return autoscale(spec, target, "local")


def ask(local: Local, method: str, name: str, body: Any = None) -> httpx.Response:
    url = f"{local.url}{GROUP}/providers/Microsoft.Insights/autoscaleSettings/{name}"
    version = {"api-version": AUTOSCALE.partition("@")[2]}
    return httpx.request(method, url, params=version, json=body, headers=local.token, verify=False)


@pytest.fixture(scope="module")
def endpoint(local: Local) -> str:
    return endpoint_with(local, "scaled", "blue", "green")


def test_a_setting_is_written_read_and_deleted(local: Local, endpoint: str) -> None:
    body = of(local, endpoint)
    assert [ask(local, "PUT", "one", body).status_code for _ in range(2)] == [201, 200]
    assert ask(local, "GET", "one").json() == {**body, "name": "one"}
    assert [ask(local, "DELETE", "one").status_code for _ in range(2)] == [200, 204]
    assert ask(local, "GET", "one").status_code == 404


def changed(where: str, value: Any) -> Callable[[dict[str, Any]], None]:
    *path, last = where.split(".")

    def change(body: dict[str, Any]) -> None:
        found: Any = body["properties"]
        for part in path:
            found = found[int(part) if part.isdigit() else part]
        found[last] = value

    return change


RULE = "profiles.0.rules.0"
OUT = f"{RULE}.metricTrigger"


@pytest.mark.parametrize(
    ("where", "value", "status", "code"),
    [
        ("targetResourceUri", f"{ARM_WORKSPACE}/onlineEndpoints/scaled/deployments/red", 404, "TargetResourceNotFound"),
        ("targetResourceUri", f"{ARM_WORKSPACE}/onlineEndpoints/scaled", 404, "TargetResourceNotFound"),
        (f"{OUT}.metricName", "GPUUtilization", 400, "UnsupportedMetric"),
        (f"{OUT}.metricResourceUri", f"{ARM_WORKSPACE}/onlineEndpoints/scaled", 501, "NotImplemented"),
        (f"{OUT}.timeWindow", "PT4M", 501, "NotImplemented"),
        (f"{RULE}.scaleAction.cooldown", "PT30S", 501, "NotImplemented"),
        (f"{RULE}.scaleAction.value", "2", 501, "NotImplemented"),
        (f"{RULE}.scaleAction.direction", "Decrease", 501, "NotImplemented"),
        (f"{RULE}.scaleAction.direction", "Up", 400, "UserError"),
        ("profiles.0.capacity.minimum", "4", 400, "BadRequest"),
        ("profiles.0.capacity.maximum", "0", 400, "BadRequest"),
        ("profiles.0.capacity.default", "4", 400, "BadRequest"),
        ("profiles.0.capacity.maximum", 3, 400, "UserError"),
        ("profiles.0.capacity.default", "2", 501, "NotImplemented"),
        ("profiles.0.rules", [], 501, "NotImplemented"),
        ("profiles", [], 501, "NotImplemented"),
        ("notifications", [], 501, "NotImplemented"),
        ("scaleOut", True, 400, "UserError"),
    ],
)
def test_what_azure_refuses_or_is_not_emulated_is_refused(
    local: Local, endpoint: str, where: str, value: Any, status: int, code: str
) -> None:
    body = of(local, endpoint)
    changed(where, value)(body)
    answer = ask(local, "PUT", "refused", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert ask(local, "GET", "refused").status_code == 404


def test_a_deployment_has_one_setting(local: Local, endpoint: str) -> None:
    assert ask(local, "PUT", "one", of(local, endpoint)).status_code == 201
    assert ask(local, "PUT", "another", of(local, endpoint)).status_code == 409
    ask(local, "DELETE", "one")


class Load:
    """What a fresh set of samples says of the machines, minute by minute."""

    def __init__(self, local: Local, endpoint: str) -> None:
        self.now, self._local, self._key = NOW, local, f"{endpoint}/blue"
        self.busy: dict[str, Any] = {}
        self.scaling = type(local.emulator.autoscaling)(local.emulator.store, self.busy)

    def after(self, minutes: int, share: float) -> int:
        for _ in range(minutes):
            self.now += 60
            self.busy[self._key] = share * self._capacity()
            self.scaling.tick(self.now)
        return self._capacity()

    def _capacity(self) -> int:
        return int(self._local.emulator.store.find("deployment", self._key)["sku"]["capacity"])


@pytest.fixture
def load(local: Local, endpoint: str) -> Load:
    """Without the emulator's own tick, whose clock is the real one."""
    store = local.emulator.store
    local.emulator.autoscaling.tick = lambda now: None  # type: ignore[method-assign]
    with store.transaction():
        blue = store.find("deployment", f"{endpoint}/blue")
        blue["sku"]["capacity"] = 1
        store.put("deployment", f"{endpoint}/blue", blue)
        store.delete("autoscale", "one")
    return Load(local, endpoint)


def test_machines_are_added_up_to_the_most_and_removed_down_to_the_fewest(
    local: Local, endpoint: str, load: Load
) -> None:
    ask(local, "PUT", "one", of(local, endpoint))
    assert load.after(1, 0.9) == 2
    assert load.after(19, 0.9) == 2, "the other machine gets 20 minutes to answer"
    assert load.after(1, 0.9) == 3
    assert load.after(60, 1.0) == 3, "that is the most"
    assert load.after(60, 0.5) == 3, "neither of both limits"
    assert load.after(11, 0.2) == 2, "ten minutes below"
    assert load.after(60, 0.0) == 1
    assert load.after(60, 0.0) == 1, "that is the fewest"


def test_a_machine_stays_if_the_others_would_be_too_busy_without_it(local: Local, endpoint: str, load: Load) -> None:
    body = of(local, endpoint)
    changed("profiles.0.rules.1.metricTrigger.threshold", 60)(body)
    ask(local, "PUT", "one", body)
    assert load.after(1, 0.9) == 2
    assert load.after(60, 0.5) == 2, "50 percent of two is 100 percent of one"
    assert load.after(60, 0.3) == 1


def test_a_setting_that_is_not_enabled_does_nothing(local: Local, endpoint: str, load: Load) -> None:
    body = of(local, endpoint)
    del body["properties"]["enabled"]
    ask(local, "PUT", "one", body)
    assert load.after(60, 1.0) == 1


def test_a_number_outside_of_the_limits_is_set_back(local: Local, endpoint: str, load: Load) -> None:
    ask(local, "PUT", "one", of(local, endpoint, instance_count=2, max_instances=2))
    assert load.after(1, 0.5) == 2


def test_a_deleted_deployment_leaves_its_setting_which_does_nothing(local: Local) -> None:
    name = endpoint_with(local, "gone", "blue")
    ask(local, "PUT", "left", of(local, name))
    with local.emulator.store.transaction():
        blue = local.emulator.store.find("deployment", "gone/blue")
        local.emulator.store.delete("deployment", "gone/blue")
        left = Load(local, name)
        left.scaling.tick(NOW)
        local.emulator.store.put("deployment", "gone/blue", blue)
    assert ask(local, "GET", "left").status_code == 200
