"""What Azure does first: import the app, and run one function in a process that has just started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

WEB = {"fastapi", "starlette", "jwt", "functions.http", "shared.api"}
VALIDATION = {
    "shared.validation.validator", "shared.rendering", "shared.grading", "detect_secrets", "phonenumbers", "re2",
    "pycld2", "rensa", "jsonschema", "jinja2", "tokenizers", "yaml",
}  # fmt: skip
SDKS = {"azure.cosmos", "azure.storage.blob", "azure.servicebus", "azure.ai.ml", "azure.identity"}
NEVER = {"torch", "transformers", "pydantic_settings"}

IMPORT = "import function_app"
SERVICES = """
from shared.services import services
found = services()
"""
DROPPED = """
import function_app
from datetime import UTC, datetime
from functions.stages import stage_functions
from local_stack.functions_host.host import to_function_message
from shared.ports import ReceivedMessage
from shared.records import runs
from shared.services import services
from tests.azure_events import blob_created
on = services()
on.blobs.write("datasets/plant/train.jsonl", [b"{}"])
info = on.blobs.info("datasets/plant/train.jsonl")
now = datetime.now(UTC)
message = to_function_message(ReceivedMessage(blob_created(info.path, info.etag), "q", "lock", now, 1, 1, now))
stage_functions(services)["receive_dataset"](message)
assert [run.status for run in runs.unfinished(on.store)] == ["received"]
"""
TICK = """
import function_app
from functions.stages import stage_functions
from shared.services import services
stage_functions(services)["reconcile"](None)
assert services().store.get("reconcile-tick", "reconcile-tick")
"""
REQUEST = """
import asyncio, function_app, json
import azure.functions as func
request = func.HttpRequest("GET", "http://127.0.0.1/api/runs", headers={"host": "127.0.0.1"}, body=b"")
[http] = [each for each in function_app.app.get_functions() if each.get_function_name() == "http"]
answer = asyncio.run(http.get_user_function()(request, None))
assert (answer.status_code, json.loads(answer.get_body())["data"]) == (200, []), answer.get_body()
"""
AZURE = {
    "RUN_STORE_URL": "https://a.documents.azure.com/droptune",
    "EVENT_BUS_URL": "sb://a.servicebus.windows.net",
    "BLOB_STORE_URL": "https://a.blob.core.windows.net",
    "AZURE_ML_URL": "azureml://subscriptions/s/resourceGroups/r/workspaces/w",
}


def loaded_by(program: str, folder: Path, environment: dict[str, str]) -> set[str]:
    """Modules of a new process that ran it, in this folder."""
    program = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{program}\nprint(*sys.modules)"
    command = [sys.executable, "-I", "-c", program]
    ended = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return set(ended.stdout.splitlines()[-1].split())


def test_importing_the_app_with_an_empty_environment_registers_every_function_and_writes_nothing(
    tmp_path: Path,
) -> None:
    read = "[function.get_function_name() for function in function_app.app.get_functions()]"
    program = f"{IMPORT}\nnames = {read}\nassert len(names) == len(set(names)) == 23"
    assert "function_app" in loaded_by(program, tmp_path, {})
    assert os.listdir(tmp_path) == []


@pytest.mark.few_cases(2)
@pytest.mark.parametrize(
    ("program", "environment", "without"),
    [
        (IMPORT, {}, {*WEB, *VALIDATION, *SDKS, "httpx"}),
        (DROPPED, {}, {*WEB - {"starlette"}, *VALIDATION, *SDKS}),  # the local host, which makes the message, has it
        (TICK, {}, {*WEB, *VALIDATION, *SDKS, "httpx"}),
        (REQUEST, {}, {*SDKS, "detect_secrets", "phonenumbers", "jsonschema"}),
        (SERVICES, AZURE, {*WEB, *VALIDATION, *SDKS - {"azure.cosmos", "azure.identity"}, "httpx"}),
    ],
    ids=["the import", "a dropped dataset", "a tick", "a request", "services of Azure"],
)
def test_a_new_process_loads_what_its_function_needs(
    tmp_path: Path, program: str, environment: dict[str, str], without: set[str]
) -> None:
    assert loaded_by(program, tmp_path, environment) & (without | NEVER) == set()
