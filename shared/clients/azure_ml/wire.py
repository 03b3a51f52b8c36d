"""Our specs as the SDK's entities, and back: is what the service has what was asked for?"""

import contextlib
import json
import logging
import math
import re
from collections.abc import Mapping
from typing import Any

import httpx

from shared.domain.beside import read_beside
from shared.domain.catalog import find_sku
from shared.domain.errors import FailureClass, PermanentFailure, Transient
from shared.domain.jobs import REQUEST_TIMEOUT_S, CoreQuota, DeploymentSpec, JobSpec, JobStatus, MachineSize
from shared.domain.recipe import Tier

log = logging.getLogger(__name__)

# Azure docs: dedicated capacity is the `standard` tier, preemptible capacity the `spot` tier.
_JOB_TIER = {Tier.SPOT: "spot", Tier.DEDICATED: "standard"}
_WIRE = read_beside(__file__)
_STATUS = {theirs: JobStatus(ours) for ours, names in _WIRE["status"].items() for theirs in names}
# A chat answer may take as long as a caller waits; vLLM batches, so many requests may be under way.
# Azure docs: concurrency defaults to 1.
CONCURRENT_REQUESTS = 32
# Azure docs: 408 took too long, 424 the container failed, 429 too busy; 502 to 504 come from the gateway.
_TRANSIENT_ANSWERS = frozenset({408, 424, 429, 500, 502, 503, 504})
# A server answers its probes once it has read its weights and compiled. The SDK's entity has no startup probe, so the
# liveness probe, which restarts a container, begins after that. 600 s: Microsoft's sample for language models
# (Azure/azureml-examples, cli/foundation-models/system/finetune/text-generation/deploy.yml). 100 MB/s: a premium disk
# of 128 GiB (Azure docs, "Managed disk types", P10); what disk a node has is not documented.
_COMPILE_S, _LOADED_BYTES_PER_S = 600, 100_000_000
_PROBE = {"period": 30, "timeout": 10}

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
    """A state or a name for comparison: the SDK hands out enums, whose `str` is not their value."""
    return str(getattr(value, "value", value)).lower()


def short_uri(uri: str | None) -> str:
    """Two URIs that mean the same are equal in this form: the service may expand the workspace in."""
    return _LONG_PREFIX.sub("azureml://", uri or "").rstrip("/")


def input_type(uri: str) -> str:
    """A registry's model, a file (its URI ends in a suffix of small letters, such as .json), or a folder."""
    if uri.startswith("azureml://registries/"):
        return "mlflow_model"  # the type those models are published with (Azure/azureml-assets)
    is_file = re.search(r"\.[a-z]+$", uri) is not None
    return "uri_file" if is_file else "uri_folder"


def job_of(spec: JobSpec, experiment: str, identity_client_id: str | None) -> Any:
    """A command job on serverless compute. No code snapshot: the image carries the code. Short datastore
    URIs stay short: the service resolves them in its own workspace (Azure docs, "Access data in a job")."""
    from azure.ai.ml import Input, Output, PyTorchDistribution, command
    from azure.ai.ml.entities import ManagedIdentityConfiguration

    alone = spec.instances == spec.processes == 1
    return command(
        name=spec.name,
        display_name=spec.name,
        experiment_name=experiment,
        command=spec.command,
        environment=spec.environment,
        inputs={name: Input(type=input_type(uri), path=uri, mode="ro_mount") for name, uri in spec.inputs.items()},
        outputs={name: Output(type="uri_folder", path=uri, mode="rw_mount") for name, uri in spec.outputs.items()},
        instance_type=spec.instance_type,
        instance_count=spec.instances,
        distribution=None if alone else PyTorchDistribution(process_count_per_instance=spec.processes),
        job_tier=_JOB_TIER[spec.tier],
        timeout=spec.timeout_s,
        tags=dict(spec.tags),
        identity=ManagedIdentityConfiguration(client_id=identity_client_id) if identity_client_id else None,
    )


def job_differences(spec: JobSpec, job: Any, identity_client_id: str | None) -> dict[str, str]:
    """What the job has instead, for each field that is not what the spec says, of what it does first."""
    queue, limits, resources, identity = job.queue_settings, job.limits, job.resources, job.identity
    pairs = {
        "inputs": (_expected_uris(spec.inputs), _uris(job.inputs, job.inputs or {})),
        "outputs": (_expected_uris(spec.outputs), _uris(job.outputs, spec.outputs)),
        "identity_client_id": (lowered(identity_client_id), lowered(getattr(identity, "client_id", None))),
        "command": (spec.command, job.command),
        "environment": (spec.environment, name_version(job.environment)),
        "instance_type": (spec.instance_type.lower(), lowered(resources and resources.instance_type)),
        "instances": (spec.instances, resources and resources.instance_count),
        "processes": (spec.processes, getattr(job.distribution, "process_count_per_instance", 1)),
        "tier": (_JOB_TIER[spec.tier], lowered(queue and queue.job_tier)),
        "timeout_s": (spec.timeout_s, limits and limits.timeout),
    }
    return {field: f"{found!r}, not {expected!r}" for field, (expected, found) in pairs.items() if expected != found}


def managed_deployment(spec: DeploymentSpec) -> Any:
    """A deployment of a custom container; port and routes are those of its registered environment."""
    from azure.ai.ml.entities import ManagedOnlineDeployment, OnlineRequestSettings, ProbeSettings

    start_s = _COMPILE_S + math.ceil(spec.weights_bytes / _LOADED_BYTES_PER_S)
    return ManagedOnlineDeployment(
        name=spec.name,
        endpoint_name=spec.endpoint,
        model=spec.model,
        environment=spec.environment,
        instance_type=spec.instance_type,
        instance_count=spec.instance_count,
        environment_variables=dict(spec.environment_variables),
        tags=dict(spec.tags),
        request_settings=OnlineRequestSettings(
            request_timeout_ms=REQUEST_TIMEOUT_S * 1000, max_concurrent_requests_per_instance=CONCURRENT_REQUESTS
        ),
        liveness_probe=ProbeSettings(initial_delay=start_s, failure_threshold=10, **_PROBE),
        readiness_probe=ProbeSettings(initial_delay=60, failure_threshold=math.ceil(start_s / 30), **_PROBE),
    )


def autoscale(spec: DeploymentSpec, deployment_id: str, region: str) -> dict[str, Any]:
    """Body of Microsoft.Insights/autoscaleSettings, which is off unless it says `enabled`; counts are texts."""
    metric = _SCALE["metric"]["gpu" if find_sku(spec.instance_type).gpus else "cpu"]

    def rule(operator: str, percent: float, direction: str) -> dict[str, Any]:
        trigger = {"metricName": metric, "threshold": percent, "metricResourceUri": deployment_id, "operator": operator}
        return {
            "metricTrigger": trigger | _SCALE["trigger"],
            "scaleAction": {"direction": direction} | _SCALE["action"],
        }

    above, fewest = spec.scale_out_above or 70.0, str(spec.instance_count)
    capacity = {"minimum": fewest, "maximum": str(spec.max_instances), "default": fewest}
    rules = [rule("GreaterThan", above, "Increase"), rule("LessThan", _SCALE["in_to_out"] * above, "Decrease")]
    profiles = [{"name": "utilization", "capacity": capacity, "rules": rules}]
    properties = {"enabled": True, "targetResourceUri": deployment_id, "profiles": profiles}
    return {"location": region, "tags": dict(spec.tags), "properties": properties}


def machine_size(size: Any) -> MachineSize:
    """One size; see `_fields`."""
    return MachineSize(name=size.name, family=size.family, cores=_fields(size)["vCPUs"])


def core_quota(usage: Any) -> CoreQuota | None:
    """None for what counts no cores, and for a share that a workspace was given of the subscription's quota."""
    fields = _fields(usage)
    kind = _QUOTA_KIND.search(usage.type or "")
    if kind is None or "/workspaces/" in (usage.id or "").lower():
        return None
    return CoreQuota(
        # `standarddfamily`, of `standardDFamily` as sizes have it or of `Standard D Family Cluster Dedicated vCPUs`.
        family=_QUOTA_SUFFIX.sub("", fields["name"]["value"].lower()).replace(" ", "") if kind["family"] else None,
        spot=kind["kind"] == "lowPriority",
        used=fields["currentValue"],
        limit=None if fields["limit"] < 0 else fields["limit"],
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


def _fields(entity: Any) -> dict[str, Any]:
    """By the service's names: what azure-ai-ml 1.35.2 offers under its own (`current_value`, `v_cp_us`) stays None."""
    fields: dict[str, Any] = vars(entity)
    return fields


def _expected_uris(uris: Mapping[str, str]) -> dict[str, str]:
    return {name: short_uri(uri) for name, uri in uris.items()}


def _uris(entries: Mapping[str, Any] | None, expected: Mapping[str, str]) -> dict[str, str]:
    """Of the wanted names only: the service adds an output `default` to every job."""
    entries = entries or {}
    return {name: short_uri(entries[name].path) for name in expected if name in entries}


def name_version(reference: Any) -> str:
    """NAME:VERSION of an ARM id, of `azureml:NAME:VERSION`, or of itself."""
    text = str(reference or "").removeprefix("azureml:")
    parts = text.split("/")
    return f"{parts[-3]}:{parts[-1]}" if len(parts) > 3 and parts[-2] == "versions" else text


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
        raise Transient("endpoint_busy", message)
    if answer.status_code != 200:
        message = f"{endpoint} answered {answer.status_code}: {answer.text[:300]}"
        raise PermanentFailure(FailureClass.PLATFORM, "endpoint_refused", message)
    with contextlib.suppress(json.JSONDecodeError, AttributeError, KeyError, IndexError, TypeError):
        body = answer.json()
        counted = (body.get("usage") or {}).get("prompt_tokens")
        return str(body["choices"][0]["message"]["content"] or ""), int(counted) if counted else None
    raise PermanentFailure(FailureClass.PLATFORM, "endpoint_answer_unreadable", f"{endpoint}: no chat completion")
