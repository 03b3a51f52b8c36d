"""Has the subscription the cores that runs will ask for? One check for each machine size of the catalog."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from shared.domain.catalog import SKUS, find_sku
from shared.domain.jobs import CoreQuota, MachineSize
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe, Tier
from shared.domain.serving_cost import ServingCosts
from shared.health.checks import Check, CheckStatus
from shared.ports import Config, JobLauncher
from shared.step_support.serving_room import endpoint_cores, free_cores

# Of a project that says nothing: the machine is chosen by the base model, hardly by the rows.
ROWS, CHARACTERS = 1000, 4000


@dataclass(frozen=True, slots=True)
class Need:
    """Cores wanted at once, for one purpose. `whole`: of the quota, whatever is in use."""

    purpose: str
    cores: int
    spot: bool = False
    whole: bool = False


def quota_checks(config: Config, launcher: JobLauncher, costs: Iterable[ServingCosts] = ()) -> Iterator[Check]:
    """One check per size: the one of CPU jobs, then the catalog's. Raises as JobLauncher does.

    `costs`: what is deployed. An update is beside it, with as many machines as autoscale may make of it.
    """
    offered = {size.name.lower(): size for size in launcher.machine_sizes()}
    quotas = launcher.core_quotas()
    chosen = resolve(Recipe(base_model=config.default_base_model), "doctor", train_rows=ROWS, characters_max=CHARACTERS)
    spot = chosen.requested.budget.tier is Tier.SPOT
    training, serving = chosen.training_instance_type, chosen.serving_instance_type
    deployed = [(one.endpoint, latest) for one in costs for latest in one.running[-1:]]

    def needs(name: str, cores: int, *, every: bool) -> Iterator[Need]:
        """Of the defaults, or all that a recipe may ask of this size."""
        if name == config.cpu_instance_type:
            yield Need("a CPU job", cores)
        if every or name == training:
            yield Need("training", cores, spot=spot)
        if every or name == serving:
            one = endpoint_cores(find_sku(name), cores)
            yield Need("an endpoint", one)
            yield Need("an update with the previous model kept", 3 * one, whole=True)
        for endpoint, latest in deployed:
            if latest.instance_type == name:
                most = latest.max_instances or latest.instances
                yield Need(f"an update of {endpoint}", endpoint_cores(find_sku(name), cores, most))

    names = [sku.name for sku in SKUS if sku.gpus or sku.name in (training, serving)]
    for name in dict.fromkeys([config.cpu_instance_type, *names]):
        size, is_default = offered.get(name.lower()), name in (config.cpu_instance_type, training, serving)
        required = is_default or any(latest.instance_type == name for _, latest in deployed)
        every = name in names and not required
        yield _check(name, size, list(needs(name, size.cores, every=every)) if size else [], quotas, required=required)


def _check(name: str, size: MachineSize | None, needs: list[Need], quotas: list[CoreQuota], *, required: bool) -> Check:
    title = f"quota {name}"
    if size is None:
        fix = "name another size in the recipe or the settings, or use another region" if required else ""
        return Check(name=title, status=_status(required), detail="the region does not offer it", fix=fix)
    unused = [quota.model_copy(update={"used": 0}) for quota in quotas]

    def free(spot: bool, whole: bool = False) -> float:
        return free_cores(size, unused if whole else quotas, spot=spot, unlisted=0)

    dedicated, spot = _cores(free(False)), _cores(free(True))
    detail = f"free {dedicated} dedicated, {spot} spot; " + ", ".join(map(_in_words, needs))
    short = [need for need in needs if need.cores > free(need.spot, need.whole)]
    if not short:
        return Check.ok(title, detail)
    if not required:
        return Check.skipped(title, f"{detail}; only a recipe that names it needs it")
    ask = ", ".join(f"{need.cores} {_kind(need)} cores for {need.purpose}" for need in short)
    return Check.to_fix(title, detail, f"ask for quota of {size.family}: {ask}")


def _status(required: bool) -> CheckStatus:
    return CheckStatus.FIX if required else CheckStatus.SKIPPED


def _cores(count: float) -> str:
    return "any number" if math.isinf(count) else f"{count:.0f}"


def _kind(need: Need) -> str:
    return "spot" if need.spot else "dedicated"


def _in_words(need: Need) -> str:
    return f"{need.purpose} takes {need.cores} {_kind(need)}"
