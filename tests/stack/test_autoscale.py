"""A deployment that may scale: it gets its autoscale setting with its traffic, scales, keeps both while another is
deployed, and loses the setting when it is deleted. The jobs train nothing (`stub_jobs`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.stack import stub_image
from tests.stack.local import WORKSPACE, LocalStack, ask, rows, until
from tests.stack.scenarios import QUICK

pytestmark = [pytest.mark.slow, pytest.mark.stack, pytest.mark.timeout(900)]

SETTINGS = WORKSPACE.split("/providers/")[0] + "/providers/Microsoft.Insights/autoscaleSettings"
# One percent: a few answers of a laptop are enough.
TWO = {"approval": "automatic", "rollout": [50, 100], "max_instances": 2, "scale_out_above": 1}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    root = tmp_path_factory.mktemp("autoscale") / "stack"
    stub_image.install(root)
    running = LocalStack(root, {"JOB_POLL_S": "3"})
    yield running
    running.down()


def setting_of(local: LocalStack, deployment: str) -> dict[str, Any] | None:
    answer = local.azure("GET", f"{SETTINGS}/local-alpha-{deployment}")
    assert answer.status_code in (200, 404)
    return dict(answer.json()) if answer.status_code == 200 else None


def machines(local: LocalStack) -> dict[str, tuple[int, int]]:
    found = local.get("/api/endpoints/alpha")["costs"]["running"]
    return {one["deployment"]: (one["instances"], one["max_instances"]) for one in found}


def capacity(local: LocalStack, deployment: str) -> int:
    path = f"{WORKSPACE}/onlineEndpoints/alpha/deployments/{deployment}"
    return int(local.azure("GET", path).raise_for_status().json()["sku"]["capacity"])


def test_autoscale_lives_as_long_as_its_deployment(local: LocalStack) -> None:
    train, held_out = rows("train.jsonl"), rows("eval.jsonl")[:16]
    local.drop_project("alpha", train[:64], held_out, **QUICK, deployment=TWO)
    run = local.wait("alpha", {"deployed"}, within_s=300)
    first, uri = run["rollout"]["deployment"], run["rollout"]["scoring_uri"]
    setting = setting_of(local, first)
    assert setting is not None
    [profile] = setting["properties"]["profiles"]
    assert profile["capacity"] == {"minimum": "1", "maximum": "2", "default": "1"}
    assert [rule["metricTrigger"]["threshold"] for rule in profile["rules"]] == [1, 0.4]

    def scaled() -> bool:
        ask(local.root, uri, "How thick is it?")
        return capacity(local, first) == 2

    until(scaled, "it scales out", within_s=120, every_s=0.01)
    until(lambda: machines(local) == {first: (2, 2)}, "both machines are counted", within_s=60)
    [ended] = local.get("/api/endpoints/alpha")["costs"]["ended"]
    assert (ended["deployment"], ended["instances"]) == (first, 1)

    local.drop("alpha", "train.jsonl", b"".join(train[64:128]))
    second = local.wait("alpha", {"deployed"}, runs=2, within_s=300)["rollout"]["deployment"]
    assert setting_of(local, first) == setting, "it is kept for a rollback"
    assert setting_of(local, second) is not None
    assert capacity(local, first) == 2, "another deployment changes nothing"

    local.delete_endpoint("alpha")
    until(lambda: not local.get("/api/endpoints")["data"], "the endpoint is deleted", within_s=60)
    until(lambda: not (setting_of(local, first) or setting_of(local, second)), "so are the settings", within_s=60)
