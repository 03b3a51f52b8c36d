"""Machine sizes and core quotas, in the form of the REST reference (Virtual Machine Sizes - List, Usages - List)."""

import math
from collections import Counter

from local_stack.azure_ml.config import EmulatorConfig
from local_stack.azure_ml.store import Document, WorkspaceStore
from local_stack.azure_ml.strict import invalid_request
from shared.domain.catalog import SKUS

_TYPE = "Microsoft.MachineLearningServices"
_TOTAL = {"dedicatedCores": "Total Cluster Dedicated Regional vCPUs", "lowPriorityCores": "TotalLowPriorityCores"}


def sizes(config: EmulatorConfig) -> Document:
    return {
        "value": [
            {
                "name": name,
                "family": machine.family,
                "vCPUs": machine.cores,
                "gpus": machine.gpus,
                "osVhdSizeMB": 1_047_552,
                "maxResourceVolumeMB": 51_200,
                "memoryGB": machine.memory_gb,
                "lowPriorityCapable": True,
                "premiumIO": True,
                "supportedComputeTypes": ["AmlCompute"],
            }
            for name, machine in config.machines.items()
        ]
    }


def usages(config: EmulatorConfig, store: WorkspaceStore) -> Document:
    """Clusters, all cores of each kind, and those of each family: three types, told apart by `type`."""
    families = {machine.family: machine for machine in config.machines.values()}
    used, found = in_use(config, store), [_usage("totalCores", "Clusters", 0, 200)]
    for kind, name in _TOTAL.items():
        limit = sum(one.limit for one in families.values())
        found.append(_usage(kind, name, sum(used[kind, family] for family in families), limit))
    for kind in _TOTAL:
        for name, machine in families.items():
            found.append(_usage(f"vmFamily/{kind}", name, used[kind, name], machine.limit))
    return {"value": found}


def in_use(config: EmulatorConfig, store: WorkspaceStore) -> Counter[tuple[str, str]]:
    """Cores by kind and family: those of others, of each deployment until it is deleted (Azure docs, "Troubleshoot
    online endpoints", CPU quota) and of jobs that have their machines."""
    found = Counter({(kind, one.family): one.used for one in config.machines.values() for kind in _TOTAL})
    for deployment in store.all("deployment"):
        size = deployment["properties"]["instanceType"]
        if machine := config.machines.get(size):
            found["dedicatedCores", machine.family] += _served(config, size, deployment["sku"])
    for job in store.all("job"):
        resources, queue = (job["properties"].get(name) or {} for name in ("resources", "queueSettings"))
        machine = config.machines.get(resources.get("instanceType", ""))
        if machine and job["status"] in ("Preparing", "Running", "Finalizing", "CancelRequested"):
            kind = "lowPriorityCores" if queue.get("jobTier") == "Spot" else "dedicatedCores"
            found[kind, machine.family] += machine.cores * (resources.get("instanceCount") or 1)
    return found


def require_quota(config: EmulatorConfig, store: WorkspaceStore, size: str, sku: Document | None) -> None:
    """Refuse a deployment that the family has no cores for, in the words of mslearn-azure-ml issue 30."""
    machine = config.machines.get(size)
    if machine is None:
        return
    used, needed = in_use(config, store)["dedicatedCores", machine.family], _served(config, size, sku or {})
    if used + needed > machine.limit:
        problem = f"Not enough quota available for {size} in SubscriptionId local. Current usage/limit: "
        problem += f"{used}/{machine.limit}. Additional needed: {needed} Please see troubleshooting guide, available "
        problem += "here: https://aka.ms/oe-tsg#error-outofquota"
        raise invalid_request("InferencingClientCreateDeploymentFailed", "VmSize", problem)


def _served(config: EmulatorConfig, size: str, sku: Document) -> int:
    """Azure docs, "Virtual machine quota allocation for deployment": a fifth more, but for exempt sizes."""
    instances = int(sku.get("capacity") or 1)
    is_exempt = any(one.name == size and not one.endpoint_reserve for one in SKUS)
    return config.machines[size].cores * (instances if is_exempt else math.ceil(1.2 * instances))


def _usage(kind: str, name: str, used: int, limit: int) -> Document:
    return {
        "id": "/subscriptions/local/usages",
        "type": f"{_TYPE}/{kind}/usages",
        "currentValue": used,
        "limit": limit,
        "name": {"localizedValue": name, "value": name},
        "unit": "Count",
    }
