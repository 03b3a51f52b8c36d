"""Has the model a place to go? Looked at before training is paid for, and before a deployment is begun."""

import math

from shared.domain.catalog import Sku, find_sku
from shared.domain.errors import FailureClass, PermanentFailure, Transient
from shared.domain.jobs import CoreQuota, EndpointView, MachineSize
from shared.domain.recipe import Tier
from shared.domain.run import Run
from shared.ports import Services


def endpoint_cores(sku: Sku, cores: int, instances: int = 1) -> int:
    """Azure docs, "Virtual machine quota allocation for deployment": ceil(1.2 x instances) x cores."""
    return (math.ceil(1.2 * instances) if sku.endpoint_reserve else instances) * cores


def free_cores(size: MachineSize, quotas: list[CoreQuota], *, spot: bool, unlisted: float) -> float:
    """The family's, within all families'. Spot quota is one number; a family's own limit is there for some only."""
    kind = [quota for quota in quotas if quota.spot is spot]
    family = [quota.free for quota in kind if quota.family == size.family.lower()] or [math.inf if spot else unlisted]
    total = [quota.free for quota in kind if quota.family is None] or [unlisted if spot else math.inf]
    return max(0, min(*family, *total))


def require_room(run: Run, services: Services, view: EndpointView | None, *, trained: bool) -> None:
    """`view`: the run's endpoint, if there is one. Its deployments, such as production and the previous one, are among
    the cores in use. Training waits for those in the queue, but for ever if the whole quota is too small. What is not
    listed, or may not be read, is left to Azure to refuse.

    Raises PermanentFailure `endpoint_name_taken` (recipe), `cores_missing` (quota).
    """
    resolved, endpoint, budget = run.resolved, run.resolved.endpoint, run.resolved.requested.budget
    if view is None and services.models.is_name_taken(endpoint):
        message = f"another endpoint in the region is called {endpoint}: choose another name"
        raise PermanentFailure(FailureClass.RECIPE, "endpoint_name_taken", message, "deployment.endpoint")
    try:
        sizes = {size.name.lower(): size for size in services.launcher.machine_sizes()}
        quotas = services.launcher.core_quotas()
    except (Transient, PermanentFailure):
        return
    if not trained and (size := sizes.get(resolved.training_instance_type.lower())):
        whole = [quota.model_copy(update={"used": 0}) for quota in quotas]
        free = free_cores(size, whole, spot=budget.tier is Tier.SPOT, unlisted=math.inf)
        _require(size, budget.nodes * size.cores, free, f"{budget.tier} cores", "for training", "budget.instance_type")
    if size := sizes.get(resolved.serving_instance_type.lower()):
        sku, requested = find_sku(resolved.serving_instance_type), resolved.requested.deployment
        needed = endpoint_cores(sku, size.cores, requested.max_instances or requested.instances)
        beside = f"beside {len(view.deployments) if view else 0} deployments at {endpoint}"
        free = free_cores(size, quotas, spot=False, unlisted=math.inf)
        _require(size, needed, free, "dedicated cores", beside, "deployment.instance_type")


def _require(size: MachineSize, needed: int, free: float, what: str, why: str, param: str) -> None:
    if needed > free:
        message = f"{needed} {what} of {size.family} are needed {why}, {needed - free:.0f} are missing"
        raise PermanentFailure(FailureClass.QUOTA, "cores_missing", message, param)
