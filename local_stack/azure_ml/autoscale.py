"""Autoscale settings of deployments, as far as the JSON Schema beside this file has them; it names the sources."""

import re
from collections import defaultdict, deque
from collections.abc import Mapping
from pathlib import Path

from local_stack.azure_ml import published
from local_stack.azure_ml.store import Document, WorkspaceStore
from local_stack.azure_ml.strict import ArmError, seconds

EVERY_S = 30.0  # "every 30 to 60 seconds"
METRICS = {"GpuUtilizationPercentage", "CpuUtilizationPercentage"}
_TARGET = re.compile(r".*/onlineEndpoints/([^/]+)/deployments/([^/]+)$")


class Autoscaling:
    """`busy`: how many requests each deployment answers. A deleted deployment leaves its setting."""

    def __init__(self, store: WorkspaceStore, busy: Mapping[str, int]) -> None:
        self._store, self._busy, self._next = store, busy, 0.0
        self._samples: dict[str, deque[tuple[float, float]]] = defaultdict(lambda: deque(maxlen=100_000))

    def put(self, name: str, body: Document) -> tuple[int, Document]:
        target = body["properties"].get("targetResourceUri") or ""
        with self._store.transaction():
            # Code: Azure/azure-powershell issue 11710.
            if self._store.get("deployment", _TARGET.sub(r"\1/\2", target)) is None:
                raise ArmError(404, "TargetResourceNotFound", f"there is no '{target}'")
            same = [one for one in self._store.all("autoscale") if one["properties"]["targetResourceUri"] == target]
            if any(one["name"] != name for one in same):
                raise ArmError(409, "Conflict", f"'{target}' has another autoscale setting")
            _check(body["properties"], target)
            known = self._store.get("autoscale", name) or {"emulator": {"scaled": 0.0}}
            self._store.put("autoscale", name, {**body, "name": name, "emulator": known["emulator"]})
        return (200 if "name" in known else 201), {**body, "name": name}

    def tick(self, now: float) -> None:
        is_due, self._next = now >= self._next, now + EVERY_S if now >= self._next else self._next
        for name in self._store.names("autoscale"):
            with self._store.transaction():
                setting = self._store.get("autoscale", name) or {"properties": {"targetResourceUri": ""}}
                key = _TARGET.sub(r"\1/\2", setting["properties"]["targetResourceUri"])
                deployment = self._store.get("deployment", key)
                if deployment is not None and deployment["properties"]["provisioningState"] == "Succeeded":
                    count = int(deployment["sku"]["capacity"])  # the load balancer spreads requests
                    self._samples[key].append((now, 100 * min(self._busy.get(key, 0), count) / count))
                    if is_due and setting["properties"].get("enabled"):
                        self._scale(key, deployment, setting, now)

    def _scale(self, key: str, deployment: Document, setting: Document, now: float) -> None:
        [profile], scaled = setting["properties"]["profiles"], setting["emulator"]["scaled"]
        rules = {rule["scaleAction"]["direction"]: rule for rule in profile["rules"]}
        count = int(deployment["sku"]["capacity"])

        def meets(direction: str, machines: int) -> bool:
            """With the same load on so many machines. Without a metric nothing is met."""
            trigger, action = rules[direction]["metricTrigger"], rules[direction]["scaleAction"]
            values = [value for at, value in self._samples[key] if at >= now - seconds(trigger["timeWindow"])]
            over = sum(values) / len(values) * count / machines - trigger["threshold"] if values else 0
            is_over = over > 0 if direction == "Increase" else over < 0
            return is_over and now - scaled >= seconds(action["cooldown"])

        down = count > 1 and meets("Decrease", count) and not meets("Increase", count - 1)
        expected = count + (1 if meets("Increase", count) else -1 if down else 0)
        expected = max(int(profile["capacity"]["minimum"]), min(int(profile["capacity"]["maximum"]), expected))
        if expected != count:
            deployment["sku"]["capacity"], setting["emulator"]["scaled"] = expected, now
            self._store.put("deployment", key, deployment)
            self._store.put("autoscale", setting["name"], setting)


def _check(properties: Document, target: str) -> None:
    for profile in properties["profiles"]:
        fewest, default, most = (int(profile["capacity"][name]) for name in ("minimum", "default", "maximum"))
        if not 1 <= fewest <= default <= most:  # microsoft/onefuzz issue 2249
            raise ArmError(400, "BadRequest", f"capacity: {fewest}, {default} by default and {most} do not rise")
        triggers = [rule["metricTrigger"] for rule in profile["rules"]]
        if unknown := {trigger["metricName"] for trigger in triggers} - METRICS:  # SAFEHR-data/FlowEHR pull request 243
            raise ArmError(400, "UnsupportedMetric", f"{unknown} are no metrics of '{target}'")
        if default != fewest or {trigger["metricResourceUri"] for trigger in triggers} - {target}:
            raise ArmError(501, "NotImplemented", "another default, or the metric of another resource, is not emulated")
    if problem := next(published.problems("emulated", properties, file=Path(__file__).with_suffix(".json")), None):
        raise ArmError(501, "NotImplemented", f"autoscale is not emulated so: {problem}")
