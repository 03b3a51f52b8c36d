"""A platform that accepts every request and keeps it."""

from __future__ import annotations

from shared.domain.jobs import (
    CoreQuota,
    DeploymentSpec,
    EndpointView,
    JobSpec,
    JobStatus,
    JobView,
    MachineSize,
    ModelSpec,
)


class Platform:
    """Jobs, models and one endpoint; `view` is what it answers about the endpoint, `ready` whether it can be made."""

    note = ""
    taken: tuple[str, ...] = ()  # names of endpoints in other workspaces
    sizes: tuple[MachineSize, ...] = ()
    quotas: tuple[CoreQuota, ...] = ()

    def __init__(self, view: EndpointView | None = None, *, ready: bool = True) -> None:
        self.view, self.ready = view, ready
        self.jobs: list[JobSpec] = []
        self.cancelled: list[str] = []
        self.models: list[ModelSpec] = []
        self.deployments: list[DeploymentSpec] = []
        self.deleted: list[str] = []

    def submit(self, spec: JobSpec) -> JobView:
        self.jobs.append(spec)
        url = f"https://ml.azure.com/{spec.name}"
        return JobView(name=spec.name, status=JobStatus.QUEUED, studio_url=url, note=self.note)

    def begin_cancel(self, name: str) -> None:
        self.cancelled.append(name)

    def get_endpoint(self, name: str) -> EndpointView | None:
        return self.view

    def begin_endpoint(self, name: str, tags: dict[str, str]) -> bool:
        return self.ready

    def is_name_taken(self, endpoint: str) -> bool:
        return endpoint in self.taken

    def machine_sizes(self) -> list[MachineSize]:
        return list(self.sizes)

    def core_quotas(self) -> list[CoreQuota]:
        return list(self.quotas)

    def register_model(self, spec: ModelSpec) -> None:
        self.models.append(spec)

    def begin_deployment(self, spec: DeploymentSpec) -> None:
        self.deployments.append(spec)

    def begin_traffic(self, endpoint: str, traffic: dict[str, int]) -> None:
        assert self.view is not None
        self.view = self.view.model_copy(update={"traffic": traffic})

    def begin_delete_deployment(self, endpoint: str, name: str) -> None:
        self.deleted.append(name)
