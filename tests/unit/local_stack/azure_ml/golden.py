"""The bodies that go over the wire, kept as files: a change of SDK or of ours shows as a diff.

`UPDATE_GOLDEN=1 pytest tests/unit/local_stack/azure_ml` writes them anew.
"""

from __future__ import annotations

import json
import os
from typing import Any

from shared.domain.jobs import DeploymentSpec, JobSpec
from tests.paths import ROOT
from tests.unit.local_stack.azure_ml.support import Local

FOLDER = ROOT / "tests" / "golden" / "azure_ml"


def wire_body_of(local: Local, spec: JobSpec | DeploymentSpec | str) -> dict[str, Any]:
    """What the client sends for a job, a deployment, or an endpoint (by its name): path and body.

    The spec is submitted to the emulator, strict as it is, and taken from the requests it saw. The
    inputs of a job need not exist: it may fail afterwards.
    """
    if isinstance(spec, JobSpec):
        local.client.submit(spec)
        path = f"jobs/{spec.name}"
    elif isinstance(spec, DeploymentSpec):
        local.client.begin_deployment(spec)
        path = f"onlineEndpoints/{spec.endpoint}/deployments/{spec.name}"
    else:
        local.client.begin_endpoint(spec, {"project": "golden"})
        path = f"onlineEndpoints/{spec}"
    put = next(
        request
        for request in reversed(local.emulator.requests)
        if request["method"] == "PUT" and request["path"].endswith(f"/{path}")
    )
    return {"path": path, "api_version": put["api_version"], "body": put["body"]}


def check_golden(name: str, body: dict[str, Any]) -> None:
    """Compare with `tests/golden/azure_ml/NAME.json`, or write it when UPDATE_GOLDEN is set."""
    path = FOLDER / f"{name}.json"
    text = json.dumps(body, indent=2, sort_keys=True) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        FOLDER.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path.name} is missing; write it with UPDATE_GOLDEN=1"
    assert text == path.read_text(encoding="utf-8")
