"""A stack in which every event of Azure comes twice, late and in disorder, and machines keep everybody waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from local_stack.host import QUEUE, blob_created
from shared.services import build_blob_store
from tests.stack import stub_image
from tests.stack.local import LocalStack, statuses
from tests.stack.scenarios import drop, ended, seen

pytestmark = [pytest.mark.slow, pytest.mark.stack, pytest.mark.timeout(900)]

SLOW_S = 4.0


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    root = tmp_path_factory.mktemp("disorder") / "stack"
    stub_image.install(root)
    running = LocalStack(root, {"JOB_POLL_S": "30"})  # so that a job's end is known by its events
    yield running
    running.down()


def announce_again(local: LocalStack, project: str) -> None:
    """Event Grid's event of each dropped file, once more."""
    files = list(build_blob_store(f"file:{local.root / 'blobs'}").list(f"datasets/{project}/"))
    assert len(files) == 3
    with local.bus() as bus:
        bus.send(QUEUE, [blob_created(file) for file in reversed(files)])


def test_one_dataset_is_trained_evaluated_and_deployed_once(local: LocalStack) -> None:
    local.inject_fault("disorder_events", count=1000, late_s=2.0)
    for kind, count in (("slow_job", 2), ("slow_endpoint", 1), ("slow_deployment", 1)):
        local.inject_fault(kind, count=count, seconds=SLOW_S)
    drop(local, "shop", approval="automatic", rollout=[100])
    run = seen(local, "shop", "training")
    announce_again(local, "shop")
    run = ended(local, run, "deployed", "failed", "declined", "rolled_back")
    announce_again(local, "shop")
    assert (run["status"], run["error"]) == ("deployed", None), run["error"]
    history = statuses(run)
    jobs = [job for job in local.jobs() if job["name"].startswith(run["id"])]
    assert Counter(job["name"].rsplit("-", 2)[1] for job in jobs) == {"training": 1, "evaluation": 1}
    for job in jobs:
        times = {step["status"]: step["at"] for step in job["history"]}
        assert times["Preparing"] - times["Queued"] >= SLOW_S * 0.9
    assert len(local.deployments("shop")) == 1
    assert Counter(event["type"] for event in local.events(run["id"]))["droptune.run.deployed.v1"] <= 1
    assert [one["id"] for one in local.runs("shop")] == [run["id"]]
    assert statuses(local.run(run["id"])) == history
