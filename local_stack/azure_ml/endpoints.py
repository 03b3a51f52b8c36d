"""Models, online endpoints and their deployments, as resources, with their cores, metrics and autoscale settings.

What runs behind them: `serving`.
"""

import math
import re
import time
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from local_stack.azure_ml import events, published, strict
from local_stack.azure_ml.config import LOCATION, EmulatorConfig, operation_url, system_data
from local_stack.azure_ml.mounts import Mounts
from local_stack.azure_ml.store import Document, WorkspaceStore
from shared.domain.catalog import SKUS

IN_PROGRESS = ("Creating", "Updating", "Deleting")
_TYPE = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"


class Models:
    """Registered models: immutable versions that point at a folder."""

    def __init__(self, store: WorkspaceStore, mounts: Mounts) -> None:
        self._store, self.mounts = store, mounts

    def put(self, workspace: str, name: str, version: str, body: Document) -> tuple[int, Document]:
        strict.check_keys("model", body)
        properties = body.get("properties") or {}
        if not properties.get("modelUri"):
            raise strict.user_error("a model needs a modelUri")
        if not self.mounts.exists(properties["modelUri"]):
            raise strict.user_error(f"no files at {properties['modelUri']}")
        key = f"{name}:{version}"
        with self._store.transaction():
            known = self._store.get("model", key)
            if known and known["properties"]["modelUri"] != properties["modelUri"]:
                problem = f"Asset paths cannot be updated: model '{key}' has another modelUri"
                raise strict.ArmError(409, "UserError", problem)
            model = {
                "id": f"{workspace}/models/{name}/versions/{version}",
                "name": version,
                "type": "Microsoft.MachineLearningServices/workspaces/models/versions",
                "properties": {"flavors": {}, **properties},
                "systemData": known["systemData"] if known else system_data(events.now_iso()),
            }
            self._store.put("model", key, model)
            if known is None:
                events.model_registered(self._store, workspace, name, version, properties)
        return (200 if known else 201), model

    def get(self, name: str, version: str) -> Document:
        return self._store.find("model", f"{name}:{version}", "UserError")

    def versions(self, name: str) -> list[Document]:
        """Newest first, as the SDK asks for them."""
        return self._store.all("model", f"{name}:")[::-1]

    def uri(self, model: str | None) -> str:
        """Where the files of a model are, by its ARM id (.../models/NAME/versions/VERSION) or registry URI.

        Raises ArmError if it is no model's id, or no model is registered by it.
        """
        if (model or "").startswith("azureml://registries/"):
            return str(model)
        parts = (model or "").split("/")
        if len(parts) < 4 or parts[-4] != "models":
            raise strict.user_error(f"'{model}' is not a model")
        return str(self.get(parts[-3], parts[-1])["properties"]["modelUri"])


class EndpointsResource:
    """A write starts a long-running operation; `serving.ServingRunner` ends it."""

    def __init__(self, config: EmulatorConfig, store: WorkspaceStore, models: Models) -> None:
        self._config, self._store, self._models = config, store, models

    def put(self, workspace: str, name: str, body: Document) -> tuple[int, Document]:
        strict.check_name("endpoint", name, strict.ENDPOINT_NAME)
        strict.check_keys("endpoint", body)
        properties = body.get("properties") or {}
        with self._store.transaction():
            known = self._store.get("endpoint", name)
            if known is not None:
                _refuse_if_busy("endpoint", name, known)
                if known["properties"]["authMode"] != properties.get("authMode"):
                    raise strict.user_error(f"endpoint '{name}': field 'authMode' is immutable")
            elif properties.get("traffic"):
                raise strict.user_error("traffic cannot be set when an endpoint is created")
            elif name in self._config.names_of_others:  # the sentence is of Azure/azureml-examples pull request 1931
                problem = "There is already an endpoint with this name, Endpoint name needs to be unique within a"
                raise strict.invalid_request(
                    "InferencingClientCallFailed", "", f"{problem} region. Try some other name."
                )
            deployments = {item["name"] for item in self.deployments(name)}
            strict.check_traffic(properties.get("traffic") or {}, deployments)
            operation = self._operation("endpoint")
            endpoint = {
                "id": f"{workspace}/onlineEndpoints/{name}",
                "name": name,
                "type": _TYPE,
                "location": LOCATION,
                "kind": "Managed",
                "tags": body.get("tags") or {},
                "identity": {"principalId": str(uuid.uuid5(uuid.NAMESPACE_URL, name)), **(body.get("identity") or {})},
                "properties": {
                    "authMode": properties.get("authMode"),
                    "description": properties.get("description"),
                    "mirrorTraffic": properties.get("mirrorTraffic") or {},
                    # The split asked for holds only once the operation has ended.
                    "traffic": known["properties"]["traffic"] if known else {},
                    "scoringUri": f"{self._config.url}/endpoints/{name}/",
                    "swaggerUri": f"{self._config.url}/endpoints/{name}/swagger.json",
                    "publicNetworkAccess": properties.get("publicNetworkAccess") or "Enabled",
                    "provisioningState": "Updating" if known else "Creating",
                    "properties": {"AzureAsyncOperationUri": operation_url(operation)},
                },
                "systemData": known["systemData"] if known else system_data(events.now_iso()),
                "emulator": {"operation": operation, "requested_traffic": properties.get("traffic") or {}},
            }
            self._store.put("endpoint", name, endpoint)
        return (200 if known else 201), endpoint

    def get(self, name: str) -> Document:
        return self._store.find("endpoint", name)

    def delete(self, name: str) -> str:
        """Starts the deletion, deployments included; returns the operation's id."""
        with self._store.transaction():
            endpoint = self.get(name)
            _refuse_if_busy("endpoint", name, endpoint)
            for deployment in self.deployments(name):
                deployment["properties"]["provisioningState"] = "Deleting"
                self._store.put("deployment", f"{name}/{deployment['name']}", deployment)
            return self._start_deletion("endpoint", name, endpoint)

    def deployments(self, endpoint: str) -> list[Document]:
        return self._store.all("deployment", f"{endpoint}/")

    def put_deployment(self, workspace: str, endpoint: str, name: str, body: Document) -> tuple[int, Document]:
        strict.check_name("deployment", name, strict.ENDPOINT_NAME)
        strict.check_keys("deployment", body)
        with self._store.transaction():
            state = self.get(endpoint)["properties"]["provisioningState"]
            if state != "Succeeded":
                # The sentence of the service, from github.com/Azure/azure-sdk-for-net/issues/36961.
                raise strict.user_error(
                    f"Cannot create a deployment in endpoint {endpoint} because it is in {state} provisioning state."
                )
            known = self._store.get("deployment", f"{endpoint}/{name}")
            if known is not None:
                _refuse_if_busy("deployment", name, known)
                return 200, self._update_deployment(endpoint, known, body)
            properties = body.get("properties") or {}
            environment = self._config.environment_of(properties.get("environmentId"))
            if environment is None or not environment.serve:
                raise strict.user_error(f"environment '{properties.get('environmentId')}' is not one that serves")
            self._models.mounts.path(self._models.uri(properties.get("model")), self._config.root)
            if not properties.get("instanceType"):
                raise strict.user_error("a deployment needs an instanceType")
            require_quota(self._config, self._store, properties["instanceType"], body.get("sku"))
            operation = self._operation("deployment")
            deployment: Document = {
                "id": f"{workspace}/onlineEndpoints/{endpoint}/deployments/{name}",
                "name": name,
                "type": f"{_TYPE}/deployments",
                "location": LOCATION,
                "tags": body.get("tags") or {},
                "sku": {"name": "Default", "capacity": 1, **(body.get("sku") or {})},
                "properties": {
                    "scaleSettings": {"scaleType": "Default"},
                    **properties,
                    "provisioningState": "Creating",
                    "properties": {"AzureAsyncOperationUri": operation_url(operation)},
                },
                "systemData": system_data(events.now_iso()),
                "emulator": {"endpoint": endpoint, "attempt": 1, "operation": operation},
            }
            self._store.put("deployment", f"{endpoint}/{name}", deployment)
        return 201, deployment

    def get_deployment(self, endpoint: str, name: str) -> Document:
        self.get(endpoint)
        return self._store.find("deployment", f"{endpoint}/{name}")

    def delete_deployment(self, endpoint: str, name: str) -> str:
        with self._store.transaction():
            deployment = self.get_deployment(endpoint, name)
            # Whether one that is being created can be deleted is in no source: it is, and frees its machines.
            if self.get(endpoint)["properties"]["traffic"].get(name):
                raise strict.user_error(f"deployment '{name}' carries traffic and cannot be deleted")
            return self._start_deletion("deployment", f"{endpoint}/{name}", deployment)

    def _update_deployment(self, endpoint: str, known: Document, body: Document) -> Document:
        """Tags and instance count may change in place; the rest would be a rolling update, not emulated."""
        for field in ("model", "environmentId", "instanceType", "environmentVariables"):
            new = (body.get("properties") or {}).get(field)
            if (new or None) != (known["properties"].get(field) or None):
                raise strict.user_error(f"deployment '{known['name']}': changing '{field}' is not emulated")
        known["tags"] = body.get("tags") or {}
        known["sku"] |= body.get("sku") or {}
        self._store.put("deployment", f"{endpoint}/{known['name']}", known)
        return known

    def _start_deletion(self, kind: str, key: str, resource: Document) -> str:
        operation = self._operation(kind)
        resource["properties"]["provisioningState"] = "Deleting"
        resource["emulator"]["operation"] = operation
        self._store.put(kind, key, resource)
        return operation

    def _operation(self, kind: str) -> str:
        id = f"{kind}-{uuid.uuid4()}"
        self._store.put("operation", id, {"id": id, "status": "InProgress", "error": None})
        return id


def _refuse_if_busy(kind: str, name: str, resource: Document) -> None:
    state = resource["properties"]["provisioningState"]
    if state in IN_PROGRESS:
        # The sentence of the service, from github.com/Azure/azure-cli/issues/17075.
        message = "Conflict of operation, another operation on same entity is already running in workspace"
        raise strict.ArmError(409, "Conflict", f"{message}: {kind} '{name}' ({state}).")


def shown(resource: Document) -> Document:
    """The resource without the emulator's own notes."""
    return {key: value for key, value in resource.items() if key != "emulator"}


REQUESTS, CAPACITY, LATENCY = "RequestsPerMinute", "DeploymentCapacity", "RequestLatency_P50"
GRAINS = {"PT1M": 60, "PT5M": 300, "PT15M": 900, "PT30M": 1800, "PT1H": 3600, "PT6H": 21600, "PT12H": 43200}
# https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/
# microsoft-machinelearningservices-workspaces-onlineendpoints-metrics, and ...-onlineendpoints-deployments-metrics:
# only the metrics of an endpoint have these dimensions.
DIMENSIONS = ("deployment", "statusCode", "modelStatusCode")
_CONDITION = re.compile(r"(\w+) eq '([^']*)'")


class Monitor:
    """A minute is known once it is over. Of one without requests there is no value."""

    def __init__(self, store: WorkspaceStore, endpoints: EndpointsResource) -> None:
        self._store, self._endpoints = store, endpoints

    def count(self, endpoint: str, deployment: str, status: int, inner: str, seconds: float) -> None:
        """A request that was answered, and what its container said."""
        at = int(time.time())
        self._store.add_metric(f"{endpoint}/{deployment}", f"{status}/{inner}", 1000 * seconds, at // 60, at)

    def metrics(self, workspace: str, endpoint: str, query: Document, name: str | None = None) -> Document:
        """Of an endpoint, by the dimensions of `$filter`, or of the deployment `name`, which has none."""
        step, names = GRAINS.get(query.get("interval", "")), str(query.get("metricnames")).split(",")
        conditions = dict(_CONDITION.findall(query.get("$filter", "")))
        known = {REQUESTS, CAPACITY, LATENCY} if name else {REQUESTS}
        spelled = " and ".join(f"{dimension} eq '{value}'" for dimension, value in conditions.items())
        is_known = spelled == query.get("$filter", "") and set(() if name else DIMENSIONS) >= conditions.keys()
        if not known >= set(names) or step is None or query.get("aggregation") != "Average" or not is_known:
            raise strict.ArmError(400, "BadRequest", f"no metrics {names} by {step} s, {query}")
        begins, ends = (datetime.fromisoformat(at).timestamp() for at in str(query["timespan"]).split("/"))
        if begins >= ends:
            raise strict.ArmError(400, "BadRequest", f"the time span ends before it begins: {query['timespan']}")
        deployments = (
            [self._endpoints.get_deployment(endpoint, name)] if name else self._endpoints.deployments(endpoint)
        )
        found: dict[tuple[str, ...], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        for deployment in deployments:
            minutes = int(begins) // step * step // 60, min(int(ends), int(time.time()) // 60 * 60 - 1) // 60
            for codes, minute, value in self._store.points(f"{endpoint}/{deployment['name']}", *minutes):
                facts = dict(zip(DIMENSIONS, (deployment["name"], *codes.split("/")), strict=True))
                if all(value in ("*", facts[one]) for one, value in conditions.items()):
                    found[tuple(facts[one] for one in conditions)][minute].append(value)
        by_dimensions = list(found.items()) if conditions else [((), found[()])]

        def series(metric: str, values: tuple[str, ...], by_minute: dict[int, list[float]]) -> Document:
            data: list[Document] = []
            for at in range(int(begins) // step * step, int(ends), step):
                busy = [by_minute[minute] for minute in range(at // 60, (at + step) // 60) if minute in by_minute]
                point = {
                    REQUESTS: _mean([float(len(one)) for one in busy]),
                    LATENCY: _mean([median(one) for one in busy]),
                }
                if name:
                    point[CAPACITY] = self._capacity(deployments[0], range(at // 60, (at + step) // 60))
                average = {} if point[metric] is None else {"average": point[metric]}
                data.append({"timeStamp": datetime.fromtimestamp(at, UTC).isoformat(), **average})
            pairs = zip(conditions, values, strict=True)
            about = [{"name": {"value": one.lower()}, "value": value} for one, value in pairs]
            return {"metadatavalues": about, "data": data}

        # "top: The maximum number of records to retrieve ... Defaults to 10" (REST reference, Metrics - List).
        shown = by_dimensions[: int(query.get("top", 10))]
        found_of = [{"name": {"value": one}, "timeseries": [series(one, *group) for group in shown]} for one in names]
        return {"timespan": query["timespan"], "interval": query["interval"], "value": found_of}

    def _capacity(self, deployment: Document, minutes: range) -> float | None:
        created = datetime.fromisoformat(deployment["systemData"]["createdAt"]).timestamp()
        is_over = any(created < minute * 60 + 60 < time.time() for minute in minutes)
        return float(deployment["sku"]["capacity"]) if is_over else None


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


_TOTAL = {"dedicatedCores": "Total Cluster Dedicated Regional vCPUs", "lowPriorityCores": "TotalLowPriorityCores"}


def sizes(config: EmulatorConfig) -> Document:
    """In the form of the REST reference (Virtual Machine Sizes - List)."""
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
    """Clusters, all cores of each kind, and those of each family: three types, told apart by `type` (Usages - List)."""
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
        raise strict.invalid_request("InferencingClientCreateDeploymentFailed", "VmSize", problem)


def _served(config: EmulatorConfig, size: str, sku: Document) -> int:
    """Azure docs, "Virtual machine quota allocation for deployment": a fifth more, but for exempt sizes."""
    instances = int(sku.get("capacity") or 1)
    is_exempt = any(one.name == size and not one.endpoint_reserve for one in SKUS)
    return config.machines[size].cores * (instances if is_exempt else math.ceil(1.2 * instances))


def _usage(kind: str, name: str, used: int, limit: int) -> Document:
    return {
        "id": "/subscriptions/local/usages",
        "type": f"Microsoft.MachineLearningServices/{kind}/usages",
        "currentValue": used,
        "limit": limit,
        "name": {"localizedValue": name, "value": name},
        "unit": "Count",
    }


EVERY_S = 30.0  # "every 30 to 60 seconds"
AUTOSCALE_METRICS = {"GpuUtilizationPercentage", "CpuUtilizationPercentage"}
_AUTOSCALE = Path(__file__).with_name("autoscale.json")
_TARGET = re.compile(r".*/onlineEndpoints/([^/]+)/deployments/([^/]+)$")


class Autoscaling:
    """Autoscale settings of deployments, as far as the JSON Schema beside this file has them; it names the sources.

    `busy`: how many requests each deployment answers. A deleted deployment leaves its setting.
    """

    def __init__(self, store: WorkspaceStore, busy: Mapping[str, int]) -> None:
        self._store, self._busy, self._next = store, busy, 0.0
        self._samples: dict[str, deque[tuple[float, float]]] = defaultdict(lambda: deque(maxlen=100_000))

    def put(self, name: str, body: Document) -> tuple[int, Document]:
        target = body["properties"].get("targetResourceUri") or ""
        with self._store.transaction():
            # Code: Azure/azure-powershell issue 11710.
            if self._store.get("deployment", _TARGET.sub(r"\1/\2", target)) is None:
                raise strict.ArmError(404, "TargetResourceNotFound", f"there is no '{target}'")
            same = [one for one in self._store.all("autoscale") if one["properties"]["targetResourceUri"] == target]
            if any(one["name"] != name for one in same):
                raise strict.ArmError(409, "Conflict", f"'{target}' has another autoscale setting")
            _check_autoscale(body["properties"], target)
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
            values = [value for at, value in self._samples[key] if at >= now - strict.seconds(trigger["timeWindow"])]
            over = sum(values) / len(values) * count / machines - trigger["threshold"] if values else 0
            is_over = over > 0 if direction == "Increase" else over < 0
            return is_over and now - scaled >= strict.seconds(action["cooldown"])

        down = count > 1 and meets("Decrease", count) and not meets("Increase", count - 1)
        expected = count + (1 if meets("Increase", count) else -1 if down else 0)
        expected = max(int(profile["capacity"]["minimum"]), min(int(profile["capacity"]["maximum"]), expected))
        if expected != count:
            deployment["sku"]["capacity"], setting["emulator"]["scaled"] = expected, now
            self._store.put("deployment", key, deployment)
            self._store.put("autoscale", setting["name"], setting)


def _check_autoscale(properties: Document, target: str) -> None:
    for profile in properties["profiles"]:
        fewest, default, most = (int(profile["capacity"][name]) for name in ("minimum", "default", "maximum"))
        if not 1 <= fewest <= default <= most:  # microsoft/onefuzz issue 2249
            raise strict.ArmError(400, "BadRequest", f"capacity: {fewest}, {default} by default and {most} do not rise")
        triggers = [rule["metricTrigger"] for rule in profile["rules"]]
        unknown = {trigger["metricName"] for trigger in triggers} - AUTOSCALE_METRICS
        if unknown:  # SAFEHR-data/FlowEHR pull request 243
            raise strict.ArmError(400, "UnsupportedMetric", f"{unknown} are no metrics of '{target}'")
        if default != fewest or {trigger["metricResourceUri"] for trigger in triggers} - {target}:
            raise strict.ArmError(501, "NotImplemented", "another default or resource's metric is not emulated")
    if problem := next(published.problems("emulated", properties, file=_AUTOSCALE), None):
        raise strict.ArmError(501, "NotImplemented", f"autoscale is not emulated so: {problem}")
