"""A candidate that goes bad at a tenth of the traffic is rolled back by itself, whatever is wrong with it.

A champion, and six candidates of the same project that beat it. Each waits for its approval, is found good once, gets
a tenth of the traffic, and goes bad in its own way (`faulty_server`) while clients send requests. The tests run in the
order of the candidates.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_stack.azure_ml.config import ENVIRONMENTS
from local_stack.processes import free_port
from local_stack.stack import ENVIRONMENTS as ENVIRONMENTS_FILE
from local_stack.tiny_base.shipped import PLACE
from shared.steps.advance_rollout import LAST_ANSWERS
from tests.paths import ROOT
from tests.stack import faulty_server
from tests.stack.load_clients import LoadClients, TimedRequest
from tests.stack.local import LocalStack, notes, rows, until

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(1500)]

Run = dict[str, Any]

ENDPOINT = "line"
SERVE = ENVIRONMENTS["droptune-serving:4"].serve
# The champion was taught to end with the finish; by now the plant wants it named first. The tiny base does neither.
FINISH_LAST = "mm, [a-z ]+ finish$"
FINISH_FIRST = "^[a-z ]+ finish,"


@dataclass(frozen=True)
class Bad:
    """How a candidate goes bad, and what its history then says; `fails` is the share of requests it fails. On a loaded
    machine one of the five questions of a probe may be answered too late to count."""

    name: str
    fault: dict[str, str]
    notes_so_far: tuple[str, ...]
    fails: float = 0.0
    clients: int = LoadClients.CLIENTS


CANDIDATES = (
    Bad(
        "silent",
        {"kind": "drop_connections"},
        ("not_answering: 5 of 5 requests failed: line answered 503",) * 2,
        fails=1.0,
    ),
    Bad(
        "failing",
        {"kind": "fail_some"},
        (r"requests_fail: [12] of 5 requests failed: line answered 424 \(container: 500\)",) * 2,
        fails=1 / 3,
    ),
    Bad("uppercase", {"kind": "uppercase"}, (r"answers_changed: 0 of [45] answers are those of the evaluation",)),
    Bad(
        "untuned",
        {"kind": "elsewhere"},
        (r"adapter_has_no_effect: 0 of [45] answers differ from the base model's",),
    ),
    Bad(
        "retemplated",
        {"kind": "another_template"},
        (r"template_differs: ([45]) of \1 prompts are rendered to another length",),
    ),
    Bad(
        "slow",
        {"kind": "slow"},
        (r"too_slow: answers take \d+\.\d\d s, those of the old deployment \d+\.\d\d s",) * 2,
        clients=4,  # of a machine that is busy with clients alone the old deployment is slow too
    ),
)


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("orders")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, faults: Path) -> Iterator[LocalStack]:
    root = tmp_path_factory.mktemp("bad") / "stack"
    root.mkdir()
    proxy = ["{python}", str(Path(faulty_server.__file__)), "--port", "{port}", "--faults", str(faults)]
    serve = [*proxy, *(part.replace("{port}", "{{inner_port}}") for part in SERVE)]
    environment = {"serve": serve, "any_model_name": True, "variables": {"PYTHONPATH": str(ROOT)}}
    (root / ENVIRONMENTS_FILE).write_text(json.dumps({"droptune-serving:4": environment}))
    running = LocalStack(root, {"JOB_POLL_S": "5"})
    yield running
    running.down()


@pytest.fixture(scope="module")
def base_url(local: LocalStack) -> Iterator[str]:
    """A server of the base model: what a deployment that forgot its adapter answers with."""
    port = free_port(None)
    fill = {"python": sys.executable, "model": str(local.root / "blobs" / PLACE), "port": port}
    with (local.root / "logs" / "base_server.log").open("wb") as log:
        command = [part.format_map(fill) for part in SERVE]
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        until(lambda: _healthy(f"http://127.0.0.1:{port}"), "the base model is served")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=10, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def champion(local: LocalStack) -> Run:
    drop(local, "champion", training(0), rows("eval.jsonl")[:8], FINISH_LAST)
    return local.wait(ENDPOINT, {"deployed"})


@pytest.fixture(scope="module", autouse=True)
def candidates(local: LocalStack, champion: Run) -> None:
    """One after the other, and all before the first is deployed: beside a training the probes find good ones slow."""
    held_out = [finish_first(row) for row in rows("eval.jsonl")[:8]]
    for number, bad in enumerate(CANDIDATES, start=1):
        train = [finish_first(row) for row in training(number)]
        drop(local, bad.name, train, held_out, FINISH_FIRST, approval="required")
        local.wait(ENDPOINT, {"awaiting_approval"}, file=f"{bad.name}.jsonl")


def training(number: int) -> list[bytes]:
    """Sixty-four rows, others for each number."""
    return rows("train.jsonl")[64 * number : 64 * (number + 1)]


def drop(
    local: LocalStack, name: str, train: list[bytes], held_out: list[bytes], pattern: str, **deployment: Any
) -> None:
    local.drop_project(
        ENDPOINT,
        train,
        held_out,
        f"{name}.jsonl",
        method={"hyperparameters": {"n_epochs": 4, "batch_size": 4}},
        evaluation={
            "graders": [{"name": "wanted", "type": "regex", "pattern": pattern}],
            "slices": [],
            "max_new_tokens": 32,
            "gate": {"min_score": 0.0, "min_gain": 0.0, "max_regression": 1.0, "min_rows": 2},
        },
        deployment=deployment,
    )


def finish_first(row: bytes) -> bytes:
    record = json.loads(row)
    question, answer = record["messages"]
    turned = ", ".join(reversed(answer["content"].split(", ")))
    return json.dumps({**record, "messages": [question, {**answer, "content": turned}]}).encode() + b"\n"


def share_of(requests: list[TimedRequest], failed: list[TimedRequest]) -> int:
    """How many requests may have met a deployment with a tenth of the traffic.

    The split is by smooth weighted round robin: of any n requests in a row, at most n / 10 rounded up.
    """
    first, last = min(one.began for one in failed), max(one.ended for one in failed)
    return math.ceil(sum(one.ended >= first and one.began <= last for one in requests) / 10)


@pytest.mark.parametrize("bad", CANDIDATES, ids=lambda bad: bad.name)
def test_a_candidate_that_goes_bad_at_a_tenth_of_the_traffic_is_taken_back(
    local: LocalStack, faults: Path, champion: Run, base_url: str, bad: Bad
) -> None:
    run = local.wait(ENDPOINT, {"awaiting_approval"}, file=f"{bad.name}.jsonl")
    assert run["champion"] == champion["id"]
    assert run["evaluation"]["gains"][1]["low"] > 0
    (faults / f"{run['id']}.json").write_text(json.dumps({**bad.fault, "url": base_url}))
    old = champion["rollout"]["deployment"]
    with LoadClients(local, ENDPOINT, champion["rollout"]["scoring_uri"], bad.clients) as load_clients:
        local.approve(run["id"])
        run = local.wait(ENDPOINT, {"rolled_back"}, file=f"{bad.name}.jsonl", within_s=900)
        back = time.monotonic()
        time.sleep(3)

    new = run["rollout"]["deployment"]
    # Of a server that has just started the first answers may be slow.
    found = [note for note in notes(run) if bad.name == "slow" or not note.startswith("too_slow")]
    assert found[:3] == ["approved by ada; 1 more must approve", "approved by grace", "10 % of the traffic"]
    *notes_so_far, returned, last = found[3:]
    assert (returned, last) == ("the traffic is back", notes_so_far[-1])
    assert len(notes_so_far) == len(bad.notes_so_far), notes_so_far
    for line, expected in zip(notes_so_far, bad.notes_so_far, strict=True):
        assert re.fullmatch(expected, line), line
    events = {event["type"]: event["data"] for event in local.events(run["id"])}
    assert events["droptune.traffic.shifted.v1"]["traffic"] == {old: 90, new: 10}
    reason = events["droptune.rollback.started.v1"]["reason"]
    assert f"{reason['code']}: {reason['message']}" == notes_so_far[-1]
    rolled_back = events["droptune.model.rolled_back.v1"]
    assert (rolled_back["traffic"], rolled_back["reason"], rolled_back["by"]) == ({old: 100}, reason, None)

    assert [one for one in load_clients.failed() if one.began > back] == []
    # One that is not answered within that time may be cut off by the candidate's deletion.
    failed = [one for one in load_clients.failed() if one.ended - one.began < LAST_ANSWERS.total_seconds()]
    if bad.fails:
        assert 1 <= len(failed) <= math.ceil(share_of(load_clients.requests, failed) * bad.fails)
    else:
        assert failed == []
    assert len(load_clients.requests) >= 100

    assert local.traffic(ENDPOINT) == {old: 100}
    assert local.get(f"/api/endpoints/{ENDPOINT}")["champion"] == champion["id"]
    until(lambda: local.deployments(ENDPOINT) == [old], "the candidate is deleted", within_s=30)
    until(lambda: not local.claims_of(run["id"]), "its claims are given back", within_s=30)
