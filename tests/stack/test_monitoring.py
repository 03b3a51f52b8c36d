"""A model in production gets slow, wrong or silent: found within three looks, told, and rolled back, with figures.

`PRODUCTION_RESULTS=FILE` adds the figures to a file.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local_stack import stack
from local_stack.stack import ENVIRONMENTS as ENVIRONMENTS_FILE
from tests.receiver import Receiver
from tests.stack import faulty_server, ledger, stub_image
from tests.stack.local import LocalStack, ask, rows, until
from tests.stack.scenarios import QUICK

pytestmark = [pytest.mark.slow, pytest.mark.stack, pytest.mark.timeout(900)]

Run = dict[str, Any]
EVERY_S = 2
DEPLOYMENT = {"approval": "automatic", "on_degraded": "roll_back"}


def keep(name: str, figures: dict[str, Any]) -> None:
    print(name, figures)
    if file := os.environ.get("PRODUCTION_RESULTS"):
        known = json.loads(Path(file).read_text()) if Path(file).exists() else {}
        figures |= {"load_average": round(os.getloadavg()[0], 1)}
        Path(file).write_text(json.dumps({**known, name: figures}, indent=1) + "\n")


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, faults: Path, receiver: Receiver) -> Iterator[LocalStack]:
    """Stub jobs, and their servers behind a proxy that goes bad when a file says so."""
    root = tmp_path_factory.mktemp("monitoring") / "stack"
    stub_image.install(root)
    images = json.loads((root / ENVIRONMENTS_FILE).read_text())
    serving = next(image for image in images.values() if "serve" in image)
    server = [part.replace("{port}", "{{inner_port}}") for part in serving["serve"]]
    proxy = ["{python}", str(Path(faulty_server.__file__)), "--port", "{port}", "--faults", str(faults)]
    serving["serve"] = [*proxy, *server]
    (root / ENVIRONMENTS_FILE).write_text(json.dumps(images))
    running = LocalStack(root, {"MONITOR_SCHEDULE": f"*/{EVERY_S} * * * * *", **ledger.SETTINGS})
    ledger.subscribe(running, receiver)
    yield running
    running.down()


def deployed(local: LocalStack, project: str, number: int, **deployment: Any) -> Run:
    train, held_out = rows("train.jsonl"), rows("eval.jsonl")[:16]
    name = f"train-{number}.jsonl"
    changes = {**QUICK, "deployment": {**DEPLOYMENT, **deployment}}
    local.drop_project(project, train[64 * number : 64 * number + 64], held_out, name, **changes)
    return local.wait(project, {"deployed"}, runs=number + 1, within_s=300, file=None)


def notified(receiver: Receiver, endpoint: str, fact: str) -> dict[str, Any] | None:
    bodies = (json.loads(body) for _, body in receiver.got)
    found = [one for one in bodies if one["type"] == f"droptune.{fact}.v1" and one["data"]["endpoint"] == endpoint]
    assert len(found) <= 1, "once for each change"
    return found[0] if found else None


def probes_so_far(local: LocalStack) -> int:
    return stack.Stack.load(local.root).log("host").read_text().count("function=monitor_endpoints ")


@pytest.mark.parametrize(
    ("kind", "fact", "code"),
    [
        ("slow", "endpoint.degraded", "too_slow"),
        ("uppercase", "endpoint.degraded", "answers_changed"),
        ("drop_connections", "endpoint.down", "not_answering"),
    ],
)
def test_a_model_in_production_that_goes_bad_is_found_told_and_rolled_back(
    local: LocalStack, faults: Path, receiver: Receiver, kind: str, fact: str, code: str
) -> None:
    endpoint = f"shop-{kind.split('_')[0]}"
    first, second = (deployed(local, endpoint, number) for number in range(2))
    good, bad = (run["rollout"]["deployment"] for run in (first, second))
    health = until(lambda: local.get(f"/api/endpoints/{endpoint}")["health"], "it is looked at")
    assert health["state"] == "healthy"
    before, began = probes_so_far(local), time.monotonic()
    (faults / f"{second['id']}.json").write_text(json.dumps({"kind": kind}))
    event = until(lambda: notified(receiver, endpoint, fact), "it is told", within_s=120, every_s=0.05)
    found_s, probes = time.monotonic() - began, probes_so_far(local) - before
    until(lambda: local.traffic(endpoint) == {good: 100}, "the traffic is back", within_s=60, every_s=0.05)
    back_s = time.monotonic() - began
    assert (event["data"]["problem"]["code"], event["data"]["rolls_back_to"], event["data"]["probes"]) == (
        code,
        good,
        2,
    )
    record = until(
        lambda: (now := local.get(f"/api/endpoints/{endpoint}"))["health"]["state"] == "healthy" and now,
        "what is in production answers well",
    )
    assert (record["deployment"], record["previous"]["deployment"], record["previous"]["left"]) == (good, bad, True)
    assert ask(local.root, record["scoring_uri"], "Expand OR-BR-M12-060-PT.") == f"what {first['id']}-training-1 taught"
    recovered = until(lambda: notified(receiver, endpoint, "endpoint.recovered"), "that is told too")
    rollback = local.run(second["id"])["rollback"]
    assert (rollback["by"], rollback["reason"]["code"]) == (None, code)
    assert (
        until(lambda: notified(receiver, endpoint, "model.rolled_back"), "and why")["data"]["reason"]
        == rollback["reason"]
    )
    figures = {name: event["data"][name] for name in ("before", "now", "limit", "probes")}
    figures |= {"code": code, "message": event["data"]["problem"]["message"], "interval_s": EVERY_S}
    figures |= {"probes_until_notified": probes, "seconds_until_notified": round(found_s, 1)}
    figures |= {"seconds_until_traffic_is_back": round(back_s, 1), "seconds_not_well": recovered["data"]["seconds"]}
    keep(kind, figures)
    # A host that is busy begins a look late: what counts is how many found it bad, and of those it takes two.
    assert probes <= 4
