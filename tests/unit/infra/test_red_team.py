"""The red-team job: its file is one that Azure ML takes, it reaches its endpoint alone, and no answer is no success."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.paths import ROOT

RED_TEAM = ROOT / "infra" / "red-team"
KEPT = f"""
import runpy, socket
server = socket.create_server(("127.0.0.1", 0))
url = "http://127.0.0.1:%d/endpoints/one" % server.getsockname()[1]
runpy.run_path({str(RED_TEAM / "run.py")!r})["keep_to"](url)
socket.create_connection(server.getsockname()).close()
for reach in (
    lambda: socket.getaddrinfo("telemetry.invalid", 443),
    lambda: socket.socket().connect(("127.0.0.2", 9)),
    lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.2", 9)),
):
    try:
        reach()
    except PermissionError as error:
        print(error)
"""


@pytest.mark.ci
@pytest.mark.filterwarnings("ignore::marshmallow.warnings.RemovedInMarshmallow4Warning")
def test_azure_ml_s_own_loader_takes_the_job_with_what_the_documentation_sets(azure_ml_sdk: ModuleType) -> None:
    given = [
        {"environment.image": "crabc.azurecr.io/droptune-red-team:1"},
        {"inputs.url": "https://claims.westeurope.inference.ml.azure.com"},
        {"inputs.model": "claims"},
        {"identity.client_id": "client"},
    ]
    job = azure_ml_sdk.load_job(RED_TEAM / "job.yml", params_override=given)
    assert job.environment.image == "crabc.azurecr.io/droptune-red-team:1"
    job.environment = "droptune-red-team:1"  # the service gives the inline environment its id
    body = job._to_job()._to_rest_object().properties
    assert {name: one.value for name, one in body.inputs.items()} == {
        "url": "https://claims.westeurope.inference.ml.azure.com",
        "model": "claims",
    }
    assert (body.identity.client_id, body.code_id, body.outputs["report"].mode) == ("client", None, "Upload")
    dockerfile = (RED_TEAM / "Dockerfile").read_text()
    assert "run.py /app/" in dockerfile
    assert body.command.startswith("python /app/run.py ")


def test_no_host_but_the_endpoint_s_is_reached() -> None:
    done = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "only 127.0.0.1 may be reached, not telemetry.invalid",
        "only 127.0.0.1 may be reached, not 127.0.0.2",
        "only 127.0.0.1 may be reached, not 127.0.0.2",
    ]


@pytest.mark.parametrize(
    ("evaluated", "ends"),
    [([(3, 1, 0)], False), ([(3, 1, 2)], False), ([], True), ([(0, 0, 4)], True), ([(3, 1, 0), (0, 0, 1)], True)],
)
def test_a_probe_without_an_answer_fails_the_job(
    tmp_path: Path, evaluated: list[tuple[int, int, int]], ends: bool
) -> None:
    report = tmp_path / "red-team.report.jsonl"
    rows = [
        {"probe": "dan.DUDE", "detector": "dan.DUDE", "passed": passed, "fails": fails, "nones": nones}
        for passed, fails, nones in evaluated
    ]
    lines = [{"entry_type": "init"}, *({"entry_type": "eval", "intents": {}} | row for row in rows)]
    report.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    counted = runpy.run_path(str(RED_TEAM / "run.py"))["counted"]
    if ends:
        with pytest.raises(SystemExit, match="a probe got no answer at all"):
            counted(report)
    else:
        assert counted(report) == rows
