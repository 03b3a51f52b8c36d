"""Our specs as bodies of the REST API, and back: is what the service has what was asked for?

The fields, and which of them are sent though empty, are those of azure-ai-ml 1.35.2: test_wire_sdk.py compares.
"""

import contextlib
import json
import logging
import math
import re
from collections.abc import Container, Mapping
from datetime import timedelta
from statistics import median
from typing import Any

import httpx
from pydantic import TypeAdapter, ValidationError

from shared.clients.azure_ml.connection import Workspace
from shared.domain.beside import read_beside
from shared.domain.catalog import find_sku
from shared.domain.errors import OVERLOADED, FailureClass, PermanentFailure, Transient
from shared.domain.jobs import REQUEST_TIMEOUT_S, CoreQuota, DeploymentSpec, JobSpec, JobStatus, ModelSpec, RequestStats
from shared.domain.recipe import SCALE_OUT_ABOVE, Tier

log = logging.getLogger(__name__)

Document = dict[str, Any]
Differences = dict[str, str]  # what there is instead, by field of the spec

# Azure docs: dedicated capacity is the `standard` tier, preemptible capacity the `spot` tier.
_JOB_TIER = {Tier.SPOT: "Spot", Tier.DEDICATED: "Standard"}
_WIRE = read_beside(__file__)
_STATUS = {theirs: JobStatus(ours) for ours, names in _WIRE["status"].items() for theirs in names}
CHANGING = frozenset({"creating", "updating", "deleting"})
# A chat answer may take as long as a caller waits; vLLM batches, so many requests may be under way.
# Azure docs: concurrency defaults to 1.
CONCURRENT_REQUESTS = 32
# Azure docs: 408 took too long, 424 the container failed, 429 too busy; 502 to 504 come from the gateway.
_TRANSIENT_ANSWERS = frozenset({408, 424, 429, 500, 502, 503, 504})
# A server answers its probes once it has read its weights and compiled. The API version has no startup probe, so the
# liveness probe, which restarts a container, begins after that. 600 s: Microsoft's sample for language models
# (Azure/azureml-examples, cli/foundation-models/system/finetune/text-generation/deploy.yml). 100 MB/s: a premium disk
# of 128 GiB (Azure docs, "Managed disk types", P10); what disk a node has is not documented.
_COMPILE_S, _LOADED_BYTES_PER_S = 600, 100_000_000
_PROBE = {"period": "PT30S", "timeout": "PT10S"}
_DURATION = TypeAdapter(timedelta)  # ISO 8601

_SCALE = _WIRE["autoscale"]

# REST reference, Usages - List: the cores of all families, or of one, dedicated or low-priority.
_QUOTA_KIND = re.compile(r"/(?P<family>vmFamily/)?(?P<kind>dedicated|lowPriority)Cores/usages$")
_QUOTA_SUFFIX = re.compile(r" cluster (dedicated|lowpriority) vcpus$")
_LONG_PREFIX = re.compile(r"^azureml://subscriptions/.*?/workspaces/[^/]+/", re.IGNORECASE)


def status_of(name: Any) -> JobStatus:
    """One of ours for one of Azure ML's; a name not known counts as running, for the platform has the job."""
    status = _STATUS.get(lowered(name))
    if status is None:
        log.warning("unknown Azure ML job status %r is treated as running", name)
        return JobStatus.RUNNING
    return status


def lowered(value: Any) -> str:
    """A state or a name for comparison; "" for what is not there."""
    return str(value or "").lower()


def short_uri(uri: str | None) -> str:
    """Two URIs that mean the same are equal in this form: the service may expand the workspace in."""
    return _LONG_PREFIX.sub("azureml://", uri or "").rstrip("/")


def input_type(uri: str) -> str:
    """A registry's model, a file (its URI ends in a suffix of small letters, such as .json), or a folder."""
    if uri.startswith("azureml://registries/"):
        return "mlflow_model"  # the type those models are published with (Azure/azureml-assets)
    is_file = re.search(r"\.[a-z]+$", uri) is not None
    return "uri_file" if is_file else "uri_folder"


def job_body(spec: JobSpec, workspace: Workspace, identity_client_id: str | None) -> Document:
    """A command job on serverless compute. No code snapshot: the image carries the code. Short datastore
    URIs stay short: the service resolves them in its own workspace (Azure docs, "Access data in a job")."""
    properties: Document = {
        "jobType": "Command",
        "displayName": spec.name,
        "experimentName": "droptune",
        "isArchived": False,
        "command": spec.command,
        "environmentId": version_id(workspace, "environments", spec.environment),
        "environmentVariables": {},
        "inputs": {
            name: {"jobInputType": input_type(uri), "uri": uri, "mode": "ReadOnlyMount"}
            for name, uri in spec.inputs.items()
        },
        "outputs": {
            name: {"jobOutputType": "uri_folder", "uri": uri, "mode": "ReadWriteMount"}
            for name, uri in spec.outputs.items()
        },
        "resources": {"instanceType": spec.instance_type, "instanceCount": spec.instances, "properties": {}},
        "queueSettings": {"jobTier": _JOB_TIER[spec.tier]},
        "limits": {"jobLimitsType": "Command", "timeout": _duration(spec.timeout_s)},
        "properties": {},
        "tags": dict(spec.tags),
    }
    if not spec.instances == spec.processes == 1:
        properties["distribution"] = {"distributionType": "PyTorch", "processCountPerInstance": spec.processes}
    if identity_client_id:
        properties["identity"] = {"identityType": "Managed", "clientId": identity_client_id}
    return {"properties": properties}


def job_differences(spec: JobSpec, job: Document, identity_client_id: str | None) -> tuple[Differences, Differences]:
    """Of what the job does first: fields of which it says something else than the spec, and of which it says nothing.

    The service leaves fields out and fills them: a job on a cluster that names neither has `"jobTier": "Null"` and no
    time limit (example in the help of Azure/azure-powershell, New-AzMLWorkspaceJob).
    """
    has = job["properties"]
    queue, limits, resources, identity, distribution = (
        has.get(name) or {} for name in ("queueSettings", "limits", "resources", "identity", "distribution")
    )
    # REST reference, Jobs: a job without an identity has that of a token. Azure docs, "Model training on serverless
    # compute": one machine, of the tier `Standard`, unless a job says otherwise.
    kind, tier = lowered(identity.get("identityType")), lowered(_JOB_TIER[spec.tier])
    is_ours = kind in ("", "managed" if identity_client_id else "amltoken")
    pairs = {
        "inputs": (_uris(spec.inputs), _uris(has.get("inputs") or {})),
        "outputs": (_uris(spec.outputs), _uris(has.get("outputs") or {}, spec.outputs)),
        "identity_client_id": (
            lowered(identity_client_id),
            lowered(identity.get("clientId")) or ("" if is_ours else kind),
        ),
        "command": (spec.command, has.get("command")),
        "environment": (spec.environment.lower(), lowered(name_version(has.get("environmentId")))),
        "instance_type": (lowered(spec.instance_type), lowered(resources.get("instanceType"))),
        "instances": (spec.instances, _or_default(resources.get("instanceCount"), spec.instances, 1)),
        "processes": (spec.processes, _or_default(distribution.get("processCountPerInstance"), 1, 1)),
        "tier": (tier, _or_default(queue.get("jobTier"), tier, "standard")),
        "timeout_s": (spec.timeout_s, limits.get("timeout")),
    }
    unread = {"timeout_s"}
    with contextlib.suppress(ValidationError):  # else it is shown as it is
        pairs["timeout_s"] = spec.timeout_s, _DURATION.validate_python(limits.get("timeout")).total_seconds()
        unread.clear()
    others: Differences = {}
    silent: Differences = {}
    for field, (expected, found) in pairs.items():
        if expected != found:
            (others if found and field not in unread else silent)[field] = f"{found!r}, not {expected!r}"
    return others, silent


def _or_default(found: Any, expected: Any, default: Any) -> Any:
    """What is said, a number also as a text; without a word what was asked for, if it is the default."""
    text = lowered(found)
    if text in ("", "null"):
        return expected if expected == default else None
    return int(text) if text.isdigit() else text


def model_body(spec: ModelSpec, workspace: Workspace) -> Document:
    """A version of a model. Its URI is a long one: the service resolves no short one here."""
    here = (
        f"subscriptions/{workspace.subscription}/resourcegroups/{workspace.resource_group}/workspaces/{workspace.name}"
    )
    uri = spec.uri.replace("azureml://datastores/", f"azureml://{here}/datastores/")
    properties = {"modelType": "custom_model", "modelUri": uri, "isAnonymous": False, "isArchived": False}
    return {"properties": properties | {"properties": {}, "tags": dict(spec.tags)}}


def endpoint_body(region: str, identity_id: str | None, tags: Mapping[str, str], *, is_public: bool) -> Document:
    """An endpoint without deployments. Also that of a private workspace is public unless it is told otherwise."""
    identity: Document = {"type": "SystemAssigned"}
    if identity_id is not None:
        identity = {"type": "UserAssigned", "userAssignedIdentities": {identity_id: {}}}
    properties: Document = {"authMode": "AADToken", "properties": {}, "traffic": {}, "mirrorTraffic": {}}
    if not is_public:
        properties["publicNetworkAccess"] = "Disabled"
    return {"location": region, "identity": identity, "properties": properties, "tags": dict(tags)}


def with_traffic(endpoint: Document, traffic: Mapping[str, int]) -> Document:
    """The whole endpoint with another traffic, without what the service alone writes: PATCH takes tags only."""
    identity = endpoint.get("identity") or {}
    assigned = identity.get("userAssignedIdentities")
    kept = {"type": identity.get("type") or "SystemAssigned"} | (
        {"userAssignedIdentities": {key: {} for key in assigned}} if assigned else {}
    )
    fields = ("authMode", "description", "properties", "mirrorTraffic", "publicNetworkAccess")
    has = endpoint["properties"]
    properties = {name: has[name] for name in fields if has.get(name) is not None}
    body = {name: endpoint[name] for name in ("location", "tags") if endpoint.get(name) is not None}
    shares = {name: share for name, share in traffic.items() if share}  # azure-ai-ml sends no zeros either
    return body | {"identity": kept, "properties": properties | {"traffic": shares}}


def deployment_body(spec: DeploymentSpec, workspace: Workspace, region: str) -> Document:
    """A deployment of a custom container; port and routes are those of its registered environment."""
    start_s = _COMPILE_S + math.ceil(spec.weights_bytes / _LOADED_BYTES_PER_S)
    properties = {
        "endpointComputeType": "Managed",
        "model": version_id(workspace, "models", spec.model),
        "environmentId": version_id(workspace, "environments", spec.environment),
        "environmentVariables": dict(spec.environment_variables),
        "instanceType": spec.instance_type,
        "appInsightsEnabled": False,
        "requestSettings": {
            "requestTimeout": _duration(REQUEST_TIMEOUT_S),
            "maxConcurrentRequestsPerInstance": CONCURRENT_REQUESTS,
        },
        "livenessProbe": {"initialDelay": _duration(start_s), "failureThreshold": 10, **_PROBE},
        "readinessProbe": {"initialDelay": "PT1M", "failureThreshold": math.ceil(start_s / 30), **_PROBE},
        "properties": {},
    }
    sku = {"name": "Default", "capacity": spec.instance_count}
    return {"location": region, "sku": sku, "properties": properties, "tags": dict(spec.tags)}


def autoscale(spec: DeploymentSpec, deployment_id: str, region: str) -> dict[str, Any]:
    """Body of Microsoft.Insights/autoscaleSettings, which is off unless it says `enabled`; counts are texts."""
    metric = _SCALE["metric"]["gpu" if find_sku(spec.instance_type).gpus else "cpu"]

    def rule(operator: str, percent: float, direction: str) -> dict[str, Any]:
        trigger = {"metricName": metric, "threshold": percent, "metricResourceUri": deployment_id, "operator": operator}
        return {
            "metricTrigger": trigger | _SCALE["trigger"],
            "scaleAction": {"direction": direction} | _SCALE["action"],
        }

    above, fewest = spec.scale_out_above or SCALE_OUT_ABOVE, str(spec.instance_count)
    capacity = {"minimum": fewest, "maximum": str(spec.max_instances), "default": fewest}
    rules = [rule("GreaterThan", above, "Increase"), rule("LessThan", _SCALE["in_to_out"] * above, "Decrease")]
    profiles = [{"name": "utilization", "capacity": capacity, "rules": rules}]
    properties = {"enabled": True, "targetResourceUri": deployment_id, "profiles": profiles}
    return {"location": region, "tags": dict(spec.tags), "properties": properties}


def core_quota(usage: Document) -> CoreQuota | None:
    """None for what counts no cores, and for a share that a workspace was given of the subscription's quota."""
    kind = _QUOTA_KIND.search(usage.get("type") or "")
    if kind is None or "/workspaces/" in lowered(usage.get("id")):
        return None
    return CoreQuota(
        # `standarddfamily`, of `standardDFamily` as sizes have it or of `Standard D Family Cluster Dedicated vCPUs`.
        family=_QUOTA_SUFFIX.sub("", usage["name"]["value"].lower()).replace(" ", "") if kind["family"] else None,
        spot=kind["kind"] == "lowPriority",
        used=usage["currentValue"],
        limit=None if usage["limit"] < 0 else usage["limit"],
    )


def requests_in(answer: Mapping[str, Any]) -> bool | None:
    """Whether the metrics have a request; None if the machines were not seen at nine of ten points. The newest five are
    not there yet: metrics come some minutes after what they measure."""
    points = {
        metric["name"]["value"]: [p.get("average") for series in metric["timeseries"] for p in series["data"]]
        for metric in answer.get("value", ())
    }
    capacity = points.get("DeploymentCapacity", [])
    seen = len(capacity) - capacity.count(None)
    return any(points.get("RequestsPerMinute", ())) or (None if seen < max(1, 0.9 * (len(capacity) - 5)) else False)


def request_stats(counts: Mapping[str, Any], latencies: Mapping[str, Any]) -> RequestStats:
    """Of the minutes of both answers. Azure docs, "HTTP status codes for online endpoints": 408 took too long, 424 came
    from the container; one that refused what it was asked (4xx) did not fail, and 429 says that others ask too."""

    def series(answer: Mapping[str, Any]) -> list[Document]:
        return [one for metric in answer.get("value", ()) for one in metric["timeseries"]]

    requests = failed = 0.0
    for one in series(counts):
        codes = {entry["name"]["value"].lower(): str(entry["value"]) for entry in one.get("metadatavalues", ())}
        status, inner = codes.get("statuscode", ""), codes.get("modelstatuscode", "")
        number = sum(point.get("average") or 0.0 for point in one["data"])
        requests += number
        is_fault = status == "408" or status.startswith("5") or (status == "424" and not inner.startswith("4"))
        failed += number if is_fault else 0.0
    medians = [point["average"] for one in series(latencies) for point in one["data"] if point.get("average")]
    latency_s = median(medians) / 1000 if medians else None
    return RequestStats(requests=round(requests), failed=round(failed), latency_s=latency_s)


def _uris(entries: Mapping[str, Any], names: Container[str] | None = None) -> dict[str, str]:
    """Of those names only: the service adds an output `default` to every job."""
    found = {name: one if isinstance(one, str) else (one or {}).get("uri") for name, one in entries.items()}
    return {name: short_uri(uri) for name, uri in found.items() if uri and (names is None or name in names)}


def version_id(workspace: Workspace, kind: str, reference: str) -> str:
    """The id of NAME:VERSION, one of the workspace's models or environments."""
    name, version = reference.split(":")
    return f"{workspace.arm_id}/{kind}/{name}/versions/{version}"


def name_version(reference: str | None) -> str:
    """NAME:VERSION of an ARM id, of `azureml:NAME:VERSION`, or of itself."""
    text = (reference or "").removeprefix("azureml:")
    parts = text.split("/")
    return f"{parts[-3]}:{parts[-1]}" if len(parts) > 3 and parts[-2].lower() == "versions" else text


def _duration(seconds: int) -> str:
    return str(_DURATION.dump_python(timedelta(seconds=seconds), mode="json"))


def chat_text(endpoint: str, answer: httpx.Response) -> tuple[str, int | None]:
    """The answer's text, and how many tokens the server counted in the prompt.

    Raises Transient if the endpoint is busy or its container failed, PermanentFailure `container_refused` in its words.
    """
    inner = answer.headers.get("ms-azureml-model-error-statuscode", "")
    if answer.status_code == 424 and re.fullmatch("4..", inner) and int(inner) not in _TRANSIENT_ANSWERS:
        message = f"the container of {endpoint} answered {inner}: {answer.text[:1000]}"
        raise PermanentFailure(FailureClass.CODE, "container_refused", message)
    if answer.status_code in _TRANSIENT_ANSWERS:
        message = f"{endpoint} answered {answer.status_code}" + (f" (container: {inner})" if inner else "")
        raise Transient(OVERLOADED if answer.status_code == 429 else "endpoint_busy", message)
    if answer.status_code != 200:
        message = f"{endpoint} answered {answer.status_code}: {answer.text[:300]}"
        raise PermanentFailure(FailureClass.PLATFORM, "endpoint_refused", message)
    with contextlib.suppress(json.JSONDecodeError, AttributeError, KeyError, IndexError, TypeError):
        body = answer.json()
        counted = (body.get("usage") or {}).get("prompt_tokens")
        return str(body["choices"][0]["message"]["content"] or ""), int(counted) if counted else None
    raise PermanentFailure(FailureClass.PLATFORM, "endpoint_answer_unreadable", f"{endpoint}: no chat completion")
