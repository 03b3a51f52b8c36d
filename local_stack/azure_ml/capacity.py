"""Machine sizes and core quotas, in the form of the REST reference (Virtual Machine Sizes - List, Usages - List)."""

from local_stack.azure_ml.config import EmulatorConfig
from local_stack.azure_ml.store import Document

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


def usages(config: EmulatorConfig) -> Document:
    """Clusters, all cores of each kind, and those of each family: three types, told apart by `type`."""
    families = {machine.family: machine for machine in config.machines.values()}
    found = [_usage("totalCores", "Clusters", 0, 200)]
    for kind, name in _TOTAL.items():
        machines = families.values()
        found.append(_usage(kind, name, sum(one.used for one in machines), sum(one.limit for one in machines)))
    for kind in _TOTAL:
        for name, machine in families.items():
            found.append(_usage(f"vmFamily/{kind}", name, machine.used, machine.limit))
    return {"value": found}


def _usage(kind: str, name: str, used: int, limit: int) -> Document:
    return {
        "id": "/subscriptions/local/usages",
        "type": f"{_TYPE}/{kind}/usages",
        "currentValue": used,
        "limit": limit,
        "name": {"localizedValue": name, "value": name},
        "unit": "Count",
    }
