"""Deployments that answer, and their traffic."""

from __future__ import annotations

from typing import Any

from shared.domain.jobs import DeploymentState, DeploymentView, ModelSpec
from shared.domain.prompts import Prompt
from tests.unit.local_stack.azure_ml.support import Local, deployment, eventually

CHAMPION = ModelSpec(name="champion", version="1", uri="azureml://datastores/models/paths/champion/")
CANDIDATE = ModelSpec(name="candidate", version="1", uri="azureml://datastores/models/paths/candidate/")
HELLO = Prompt([{"role": "user", "content": "hello"}])


def created(local: Local, endpoint: str, name: str, model: str = "champion:1", **changes: Any) -> DeploymentView:
    local.client.begin_deployment(deployment(endpoint, name, model, **changes))

    def over() -> DeploymentView | None:
        view = local.client.get_deployment(endpoint, name)
        assert view is not None
        return None if view.state is DeploymentState.CREATING else view

    view = eventually(over)
    assert view is not None
    return view


def endpoint_with(local: Local, name: str, *deployments: str) -> str:
    local.client.register_model(CHAMPION)
    local.client.register_model(CANDIDATE)
    assert local.client.begin_endpoint(name, {"project": "p"}) is False
    eventually(lambda: local.client.begin_endpoint(name, {"project": "p"}))
    for index, blue_or_green in enumerate(deployments):
        model = ("champion:1", "candidate:1")[index]
        assert created(local, name, blue_or_green, model).state is DeploymentState.SUCCEEDED
    return name


def set_traffic(local: Local, name: str, traffic: dict[str, int]) -> None:
    local.client.begin_traffic(name, traffic)

    def shown() -> bool:
        view = local.client.get_endpoint(name)
        return view is not None and view.traffic == {key: value for key, value in traffic.items() if value}

    eventually(shown)
