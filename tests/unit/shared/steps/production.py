"""An endpoint in production whose traffic changes only when the test says so."""

from __future__ import annotations

from datetime import datetime

from shared.domain.errors import Transient
from shared.domain.jobs import DeploymentState, DeploymentView, EndpointView

NEW, OLD = "d-new", "d-old"


class Endpoint:
    """One endpoint whose traffic changes only when the test says so."""

    def __init__(self) -> None:
        self.traffic = {NEW: 100}
        self.requested = self.traffic
        self.deployments = [NEW, OLD]
        self.used: bool | None = False
        self.instances: dict[str, int] = {}
        self.unscaled: list[str] = []
        self.scaling_fails = False

    def settle(self) -> None:
        self.traffic = self.requested

    def get_endpoint(self, name: str) -> EndpointView:
        return EndpointView(
            name=name, scoring_uri="http://x/", traffic=self.traffic, deployments=tuple(self.deployments)
        )

    def get_deployment(self, endpoint: str, name: str) -> DeploymentView | None:
        if name not in self.deployments:
            return None
        return DeploymentView(name=name, state=DeploymentState.SUCCEEDED, instances=self.instances.get(name))

    def delete_autoscale(self, endpoint: str, name: str) -> None:
        if self.scaling_fails:
            raise Transient("azure_ml_busy", "503")
        self.unscaled.append(name)

    def begin_traffic(self, endpoint: str, traffic: dict[str, int]) -> None:
        self.requested = traffic

    def had_requests(self, endpoint: str, deployment: str, since: datetime, until: datetime) -> bool | None:
        return self.used

    def begin_delete_deployment(self, endpoint: str, name: str) -> None:
        assert name not in self.traffic, "Azure refuses that"
        self.deployments.remove(name)
