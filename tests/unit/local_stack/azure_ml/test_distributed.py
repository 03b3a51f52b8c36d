"""Jobs of several processes through the real SDK against the emulator."""

from __future__ import annotations

import copy

import pytest

from shared.domain.jobs import JobStatus
from tests.unit.local_stack.azure_ml.support import Local, eventually, job

ENVIRONMENT = "env | sort > ${{outputs.model}}/$RANK"


def test_every_process_finds_its_place_among_those_of_all_instances(local: Local) -> None:
    local.client.submit(job("two-by-two", ENVIRONMENT, instances=2, processes=2))
    assert local.finish("two-by-two").status is JobStatus.COMPLETED
    files = sorted((local.blobs / "runs/two-by-two/model").iterdir())
    found = [dict(line.split("=", 1) for line in file.read_text().splitlines() if "=" in line) for file in files]
    places = [(one["RANK"], one["NODE_RANK"], one["LOCAL_RANK"], one["WORLD_SIZE"]) for one in found]
    assert places == [("0", "0", "0", "4"), ("1", "0", "1", "4"), ("2", "1", "0", "4"), ("3", "1", "1", "4")]
    meeting = {(one["MASTER_ADDR"], one["MASTER_PORT"]) for one in found}
    assert len(meeting) == 1
    assert {one["AZUREML_RUN_ID"] for one in found} == {"two-by-two"}


def test_a_job_of_one_process_has_no_distribution_and_no_rank(local: Local) -> None:
    local.client.submit(job("alone", "env > ${{outputs.model}}/env"))
    local.finish("alone")
    assert "\nRANK=" not in (local.blobs / "runs/alone/model/env").read_text()
    put = next(i for i in local.emulator.requests if i["method"] == "PUT" and i["path"].endswith("alone"))
    assert "distribution" not in put["body"]["properties"]


def test_the_first_process_that_fails_gives_the_exit_code_and_the_others_are_stopped(local: Local) -> None:
    up = "until [ -e ${{outputs.model}}/0 ] && [ -e ${{outputs.model}}/2 ]; do sleep 0.05; done"
    wait = "trap 'rm ${{outputs.model}}/$RANK; exit 15' TERM; touch ${{outputs.model}}/$RANK; sleep 60 & wait"
    script = f"if [ $RANK = 1 ]; then {up}; exit 14; else {wait}; fi"
    local.client.submit(job("one-fails", script, processes=3))
    view = local.finish("one-fails")
    assert view.status is JobStatus.FAILED
    assert view.error_message == "Execution failed. User process exited with status code 14."
    assert list((local.blobs / "runs/one-fails/model").iterdir()) == []


def test_a_process_killed_by_a_signal_fails_the_job_as_in_a_shell(local: Local) -> None:
    local.client.submit(job("one-killed", "[ $RANK = 1 ] && kill -9 $$; sleep 60", processes=2))
    message = local.finish("one-killed").error_message
    assert message == "Execution failed. User process exited with status code 137."


def test_a_cancelled_job_stops_all_its_processes(local: Local) -> None:
    script = "trap 'rm ${{outputs.model}}/$RANK; exit 0' TERM; touch ${{outputs.model}}/$RANK; sleep 60 & wait"
    local.client.submit(job("all-stop", script, processes=2))
    up = local.blobs / "runs/all-stop/model"
    eventually(lambda: up.is_dir() and len(list(up.iterdir())) == 2)
    local.client.begin_cancel("all-stop")
    assert local.finish("all-stop").status is JobStatus.CANCELLED
    assert list(up.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("Mpi", "only the PyTorch distribution is emulated, got 'Mpi'"),
        (None, "several instances are emulated with a PyTorch distribution only"),
    ],
)
def test_what_is_not_emulated_is_refused(local: Local, kind: str | None, message: str) -> None:
    name = f"by-{kind}".lower()
    local.client.submit(job(name, "true", instances=2))
    put = next(i for i in local.emulator.requests if i["method"] == "PUT" and i["path"].endswith(name))
    body = copy.deepcopy(put["body"])
    body["properties"]["distribution"] = kind and {"distributionType": kind}
    answer = local.arm("PUT", f"jobs/{name}-again", body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
