"""Schemathesis asks every route for what its schema allows: no server error, and no answer that the schema denies.

`make fuzz-api` asks for more; FUZZ_EXAMPLES is the number of requests for each route.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any, cast

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from functions.http import create_api
from functions.http.auth import APPROVER, OPERATOR, READER, Caller
from local_stack.azure_ml.config import EmulatorConfig
from shared.domain.jobs import MetricPoint
from shared.services import build_services
from shared.settings import Settings
from tests.azure_ml_emulator import running
from tests.browser import sample_runs
from tests.unit.functions.http.support import JobCurves, awaiting_approval, in_production, routes

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "5"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
WORKSPACE = "subscriptions/local/resourceGroups/local/workspaces/local"
ADA = Caller("ada", frozenset({READER, OPERATOR, APPROVER}))

API: FastAPI = create_api(lambda: API.state.built, lambda: lambda request: ADA)


@pytest.fixture(scope="module")
def operations() -> dict[str, Any]:
    """By method and path."""
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", API)
    found = [each.ok() for each in cast(Any, schema.get_all_operations())]  # an invalid one has no `ok`
    return {operation.label: operation for operation in found}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[str]]]:
    """An app with runs, an endpoint and a curve that is no number; the names of what is there, by path parameter."""
    root: Path = tmp_path_factory.mktemp("fuzz")
    with running(EmulatorConfig(root / "azure_ml", root / "blobs", 0, slots=0), lambda event: None) as emulator:
        built = build_services(
            Settings(
                run_store_url=f"sqlite:///{root / 'state.db'}",
                event_bus_url=f"sqlite:///{root / 'bus.db'}",
                blob_store_url=f"file:{root / 'blobs'}",
                azure_ml_url=f"azureml+http://127.0.0.1:{emulator.config.port}/{WORKSPACE}",
                azure_ml_secret=emulator.config.secret,
            )
        )
        curves = JobCurves()
        curves.platform, curves.of = built.launcher, lambda key: [MetricPoint(step=1, value=nan, at=1)]
        services = API.state.built = replace(built, launcher=curves)
        deployed = sample_runs.write(services, sample_runs.deployed(0xC1A1))
        sample_runs.write_samples(services, deployed)
        sample_runs.write_report(services, deployed, sample_runs.REPORT)
        waiting, endpoint = awaiting_approval(services), in_production(services)
        yield {
            "run_id": [deployed.id, waiting.id, endpoint.champion],
            "name": [endpoint.endpoint, "train.jsonl"],
            "project": [deployed.project],
            "base_model": ["droptune/tiny-llama"],
        }
        built.store.close()
        built.bus.close()
        built.launcher.close()  # type: ignore[attr-defined]
        built.notifier.close()  # type: ignore[attr-defined]


@pytest.mark.few_cases(8)
@pytest.mark.parametrize("route", routes(API))
def test_no_request_breaks_the_app_or_its_schema(
    route: str, operations: dict[str, Any], known: dict[str, list[str]]
) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operations[route].as_strategy(), data=st.data())
    def ask(case: Any, data: st.DataObject) -> None:
        for name in case.path_parameters or {}:
            if name in known and data.draw(st.booleans(), "of something that is there"):
                case.path_parameters[name] = data.draw(st.sampled_from(known[name]), name)
        if case.query and "wait_s" in case.query:
            case.query["wait_s"] = 0
        case.call_and_validate(checks=CHECKS)

    ask()
