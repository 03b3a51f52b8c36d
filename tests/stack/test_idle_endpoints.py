"""An endpoint that nobody asks: its idle hours, its return and its end, by the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.embedded.clock import SystemClock
from shared.embedded.store import SqliteRunStore
from shared.records import serving_costs
from tests.paths import ROOT
from tests.stack import stub_image
from tests.stack.local import LocalStack, ask, bearer, until
from tests.stack.scenarios import drop

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(900)]

ENDPOINT = "seasonal"
# Azure Monitor knows a minute once it is over: there is always one within this time.
IDLE_S = 65
MACHINE, USD_PER_HOUR = "Standard_NC24ads_A100_v4", 3.67


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    root = tmp_path_factory.mktemp("idle") / "stack"
    stub_image.install(root)
    running = LocalStack(root)
    yield running
    running.down()


def droptune(local: LocalStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", "endpoints", *arguments, "--url", local.url]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True)


def done(local: LocalStack, *arguments: str) -> str:
    ended = droptune(local, *arguments)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def shown(local: LocalStack) -> dict[str, Any]:
    return dict(json.loads(done(local, "show", ENDPOINT, "--json")))


def refusal(root: Path, scoring_uri: str) -> tuple[int, str]:
    url = f"{scoring_uri.rstrip('/')}/v1/chat/completions"
    body = {"messages": [{"role": "user", "content": "Expand OR-BR-M12-060-TF."}]}
    answer = httpx.post(url, json=body, headers=bearer(root), timeout=60, trust_env=False)
    return answer.status_code, answer.json()["error"]["code"]


def test_an_idle_deployment_ends_comes_back_by_one_command_and_ends_for_good_by_another(local: LocalStack) -> None:
    once: dict[str, Any] = {"approval": "automatic", "rollout": [100], "instance_type": MACHINE}
    drop(local, ENDPOINT, **once, idle_hours=IDLE_S / 3600)
    run = local.wait(ENDPOINT, {"deployed"}, within_s=300)
    deployment, uri = run["rollout"]["deployment"], run["rollout"]["scoring_uri"]
    taught = f"what {run['id']}-training-1 taught"
    assert ask(local.root, uri, "Expand OR-BR-M12-060-TF.") == taught
    serving = shown(local)
    assert (serving["stopped"], serving["usd_per_hour"]) == (None, USD_PER_HOUR)
    assert [one["deployment"] for one in serving["costs"]["running"]] == [deployment]

    stopped = until(lambda: (now := shown(local))["stopped"] and now, "nobody asks it", within_s=400, every_s=2)
    assert stopped["stopped"]["reason"] == f"no request for 0:01:{IDLE_S - 60:02}"
    ended = until(lambda: (now := shown(local))["costs"]["ended"] and now, "its deployment is seen to be gone")
    assert local.deployments(ENDPOINT) == []
    assert ended["costs"]["running"] == []
    assert [(one["deployment"], one["usd_per_hour"]) for one in ended["costs"]["ended"]] == [(deployment, USD_PER_HOUR)]
    assert (ended["usd_per_hour"], ended["usd_this_month"] > 0) == (0.0, True)
    text = done(local, "show", ENDPOINT)
    assert "USD per hour now: 0.00; this month: " in text
    assert "stopped" in text
    assert refusal(local.root, uri) == (404, "NoTraffic")
    assert shown(local)["usd_this_month"] == ended["usd_this_month"]

    assert done(local, "restore", ENDPOINT).startswith(f"restore of {ENDPOINT} requested")
    restored = until(lambda: None if (now := shown(local))["stopped"] else now, "it is restored")
    assert ask(local.root, restored["scoring_uri"], "Expand OR-BR-M12-060-TF.") == taught
    assert restored["scoring_uri"] == uri
    assert [one["deployment"] for one in restored["costs"]["running"]] == [deployment]
    assert restored["usd_per_hour"] == USD_PER_HOUR

    assert done(local, "delete", ENDPOINT, "--yes").startswith(f"deletion of {ENDPOINT} requested")
    until(lambda: droptune(local, "show", ENDPOINT).returncode != 0, "it is deleted")
    gone = droptune(local, "show", ENDPOINT)
    assert (gone.returncode, "endpoint_not_found" in gone.stderr) == (1, True)
    assert refusal(local.root, uri) == (404, "ResourceNotFound")
    with closing(SqliteRunStore(local.root / "state.db", SystemClock())) as store:
        until(lambda: not serving_costs.read(store, ENDPOINT).running, "it costs nothing any more")
        assert len(serving_costs.read(store, ENDPOINT).ended) == 2
