"""Has the model a place to go? Looked at before training is paid for, and before a deployment is begun."""

import math

from shared.domain.catalog import Sku, find_sku
from shared.domain.errors import FailureClass, PermanentFailure, Transient
from shared.domain.jobs import CoreQuota, EndpointView, MachineSize
from shared.domain.run import Run
from shared.ports import Services


def endpoint_cores(sku: Sku, cores: int) -> int:
    """Of one instance. Azure docs, "Virtual machine quota allocation for deployment": ceil(1.2 x instances) x cores."""
    return (math.ceil(1.2) if sku.endpoint_reserve else 1) * cores


def free_cores(size: MachineSize, quotas: list[CoreQuota], *, spot: bool, unlisted: float) -> float:
    """The family's, within all families'. Spot quota is one number; a family's own limit is there for some only."""
    kind = [quota for quota in quotas if quota.spot is spot]
    family = [quota.free for quota in kind if quota.family == size.family.lower()] or [math.inf if spot else unlisted]
    total = [quota.free for quota in kind if quota.family is None] or [0 if spot else math.inf]
    return max(0, min(*family, *total))


def require_room(run: Run, services: Services, view: EndpointView | None) -> None:
    """`view`: the run's endpoint, if there is one. Its deployments, such as production and the previous one, are among
    the cores in use. What is not listed, or may not be read, is left to Azure to refuse.

    Raises PermanentFailure `endpoint_name_taken` (recipe), `cores_missing` (quota).
    """
    endpoint, name = run.resolved.endpoint, run.resolved.serving_instance_type
    if view is None and services.models.is_name_taken(endpoint):
        message = f"another endpoint in the region is called {endpoint}: choose another name"
        raise PermanentFailure(FailureClass.RECIPE, "endpoint_name_taken", message, "deployment.endpoint")
    try:
        size = next(one for one in services.launcher.machine_sizes() if one.name.lower() == name.lower())
        free = free_cores(size, services.launcher.core_quotas(), spot=False, unlisted=math.inf)
    except (Transient, PermanentFailure, StopIteration):
        return
    if (needed := endpoint_cores(find_sku(name), size.cores)) > free:
        beside = f"beside {len(view.deployments) if view else 0} deployments at {endpoint}"
        message = f"{needed} dedicated cores of {size.family} are needed {beside}, {needed - free:.0f} are missing"
        raise PermanentFailure(FailureClass.QUOTA, "cores_missing", message, "deployment.instance_type")
