"""What an exception of azure-core means for us."""

from __future__ import annotations

import json
from typing import Any

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceResponseTimeoutError,
)

from shared.clients.azure_ml.errors import deployment_failure, failure_class, translate
from shared.domain.errors import FailureClass, PermanentFailure, Transient


class Answer:
    """As much of a response as the exception reads."""

    def __init__(self, status: int, code: str, message: str, details: tuple[dict[str, Any], ...] = ()) -> None:
        self.status_code, self.reason, self.content_type = status, "", "application/json"
        self.headers: dict[str, str] = {}
        self._text = json.dumps({"error": {"code": code, "message": message, "details": details}})

    def text(self, encoding: str | None = None) -> str:
        return self._text

    def body(self) -> bytes:
        return self._text.encode()


def answered(status: int, code: str = "UserError", message: str = "no", kind: Any = HttpResponseError) -> Any:
    return kind(response=Answer(status, code, message))


def test_an_endpoint_that_lacks_quota_is_refused_in_the_details_and_waits_for_it() -> None:
    """The answer of github.com/MicrosoftLearning/mslearn-azure-ml/issues/30 and of others like it."""
    cause = (
        'InferencingClient HttpRequest error, error detail: {"errors":{"VmSize":["Not enough quota available for '
        "Standard_F4s_v2 in SubscriptionId a7842ee4-aaba-4d38-8bba-c1804e31a761. Current usage/limit: 0/6. Additional "
        'needed: 8 Please see troubleshooting guide, available here: https://aka.ms/oe-tsg#error-outofquota"]},'
        '"type":"https://tools.ietf.org/html/rfc7231#section-6.5.1","title":"One or more validation errors occurred.",'
        '"status":400,"traceId":"00-a95a95afd7040aa9217f2d51d95c71c1-894d1cf3aba15e15-01"}'
    )
    details = ({"code": "InferencingClientCreateDeploymentFailed", "message": cause, "details": []},)
    answer: Any = Answer(400, "BadRequest", "The request is invalid.", details)
    found = translate(HttpResponseError(response=answer))
    assert isinstance(found, PermanentFailure)
    assert (found.failure_class, found.problem.code) == (FailureClass.QUOTA, "azure_ml_quota")
    assert found.problem.message.startswith("The request is invalid.; InferencingClientCreateDeploymentFailed: ")
    assert "Current usage/limit: 0/6. Additional needed: 8" in found.problem.message


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ServiceRequestError("refused"), "azure_ml_unreachable"),
        (ServiceResponseTimeoutError("too late"), "azure_ml_unreachable"),
        (IncompleteReadError("cut off"), "azure_ml_unreachable"),
        (ClientAuthenticationError("no managed identity answered"), "azure_ml_unreachable"),
        (answered(408), "azure_ml_busy"),
        (answered(429), "azure_ml_busy"),
        (answered(500), "azure_ml_busy"),
        (answered(503), "azure_ml_busy"),
        (answered(409, "Conflict", "another operation is in progress"), "azure_ml_busy"),
        (answered(409, "Conflict", "Another operation is In Progress"), "azure_ml_busy"),
        (
            answered(
                409, "Conflict", "Conflict of operation, another operation on same entity is already running in x."
            ),
            "azure_ml_busy",
        ),
        (
            answered(409, "ResourceConflict", "There is already an active operation on deployment blue."),
            "azure_ml_busy",
        ),
        (answered(409, "ConflictError", ""), "azure_ml_busy"),
        *(
            (answered(409, code, text), "azure_ml_busy")
            for code in ("UserError", "Conflict", "ResourceConflict")
            for text in (
                "There is already an active operation on endpoint shop.",
                "Endpoint is in state Updating",
                "Endpoint shop has the status: 'Creating'",
                "provisioningState is Deleting",
                "The deployment is in Updating state and its traffic cannot be updated.",
                "Another deployment is being updated",
                "Deployment blue is in a transitional state",
                "The endpoint is busy, try again later",
            )
        ),
        *(
            (answered(400, code, text), "azure_ml_busy")
            for code in ("UserError", "BadRequest")
            for text in (
                "Deployment blue is in a transitional state",
                "Cannot delete deployment blue since it is in Creating state.",
                "The request is not allowed while the deployment is Updating",
                "Endpoint shop has the status: 'Deleting'",
                "Another operation is in progress on endpoint shop",
            )
        ),
    ],
)
def test_these_may_work_later(error: Exception, code: str) -> None:
    found = translate(error)
    assert isinstance(found, Transient)
    assert found.problem.code == code


@pytest.mark.parametrize(
    ("error", "failure", "code"),
    [
        (answered(400, "OutOfQuota", "Not enough cores."), FailureClass.QUOTA, "azure_ml_quota"),
        (answered(403, "QuotaExceeded", "x"), FailureClass.QUOTA, "azure_ml_quota"),
        (
            answered(409, "Conflict", "vCPU quota of the family is used up"),
            FailureClass.QUOTA,
            "azure_ml_quota",
        ),
        (answered(409, "SkuNotAvailable", "x"), FailureClass.CAPACITY, "azure_ml_capacity"),
        (answered(429, "AllocationFailed", "x"), FailureClass.CAPACITY, "azure_ml_capacity"),
        (answered(400, "OutOfQuota", "region has no capacity"), FailureClass.CAPACITY, "azure_ml_capacity"),
        (answered(401, kind=ClientAuthenticationError), FailureClass.PLATFORM, "azure_ml_access_denied"),
        (answered(403, "AuthorizationFailed"), FailureClass.PLATFORM, "azure_ml_access_denied"),
        (answered(400), FailureClass.PLATFORM, "azure_ml_refused"),
        *(
            (answered(400, "BadRequest", text), FailureClass.PLATFORM, "azure_ml_refused")
            for text in (
                "The field state is missing",
                "Correct the name and try again",
                "Deployment blue failed during initial provisioning and is in an unrecoverable state.",
            )
        ),
        (
            answered(409, "UserError", "Paths are fixed."),
            FailureClass.PLATFORM,
            "azure_ml_refused",
        ),
        (
            answered(409, "Conflict", "Asset paths cannot be updated for this version."),
            FailureClass.PLATFORM,
            "azure_ml_refused",
        ),
        (answered(409, "ImmutableAsset", "Version 3 exists."), FailureClass.PLATFORM, "azure_ml_refused"),
        *(
            (answered(409, code, text), FailureClass.PLATFORM, "azure_ml_refused")
            for code in ("UserError", "Conflict")
            for text in (
                "Model shop:run1 already exists with different properties",
                "Model version 1 is immutable; operation UpdateModel is not permitted",
                "Field type is immutable; its provisioning state is Succeeded",
            )
        ),
        *(
            (answered(status, code, text), FailureClass.PLATFORM, "endpoint_name_taken")
            for status in (400, 409)
            for code in ("UserError", "BadRequest", "Conflict")
            for text in (
                "The endpoint name is already taken in region eastus",
                "An endpoint of this name already exists in the region. Operation",
                "An endpoint with this name already exists. If you are trying to create a new endpoint, use another",
                "There is already an endpoint with this name, Endpoint name needs to be unique within a region. Try x.",
                "The specified endpoint name 'shop' is not available. Endpoint names must be unique within the region.",
            )
        ),
        (TypeError("unexpected keyword"), FailureClass.CODE, "azure_ml_invalid_request"),
    ],
)
def test_these_will_not_work_and_have_a_class(error: Exception, failure: FailureClass, code: str) -> None:
    found = translate(error)
    assert isinstance(found, PermanentFailure)
    assert (found.failure_class, found.problem.code) == (failure, code)


def test_the_message_is_the_services_own_sentence() -> None:
    found = translate(answered(400, "UserError", "environment 'x' was not found\nrequest id 7"))
    assert found.problem.message == "UserError: environment 'x' was not found"


@pytest.mark.parametrize(
    ("code", "message", "failure"),
    [
        ("UserError", "Execution failed. User process exited with status code 3.", FailureClass.CODE),
        ("UserError", "Execution failed. User process exited with exit code 137", FailureClass.PLATFORM),
        ("ServiceError", "Execution failed. User process exited with status code 143.", FailureClass.PLATFORM),
        ("ExecutionFailed", "Process exited with code -9", FailureClass.PLATFORM),
        ("ExecutionFailed", "Process exited with code 1370", FailureClass.CODE),
        ("PreemptionError", "Nodes of this job got pre-empted", FailureClass.CAPACITY),
        ("ExecutionFailed", "Job was preempted; user process exited with code 143", FailureClass.CAPACITY),
        ("UserError", "The node was evicted. User process exited with code 137", FailureClass.CAPACITY),
        ("ResourceNotReady", "User container has crashed or terminated", FailureClass.CODE),
        ("ImageBuildFailure", "x", FailureClass.PLATFORM),
        ("OutOfQuota", "x", FailureClass.QUOTA),
        ("UserError", "AccountLowPriorityCoreQuotaReached", FailureClass.QUOTA),
        ("UserError", "Execution failed. User process exited with exit code 14", FailureClass.CAPACITY),
        ("BadArgument", "Not enough quota available for Standard_NC24ads_A100_v4.", FailureClass.QUOTA),
        (None, "The requested VM size would exceed the quota of this region.", FailureClass.QUOTA),
        (None, "exceeding approved standardNCADSA100v4Family Cores Quota", FailureClass.QUOTA),
        (None, "The vCPU quota is used up", FailureClass.QUOTA),
        (None, "Model file exceeds disk quota of the image", FailureClass.PLATFORM),
        ("UserError", "OSError: [Errno 122] Disk quota exceeded", FailureClass.PLATFORM),
        (None, "The user's token quota is used up", FailureClass.PLATFORM),
        (None, "DiskQuotaExceeded", FailureClass.PLATFORM),
        ("ServiceError", "not enough capacity in the region", FailureClass.CAPACITY),
        (None, None, FailureClass.PLATFORM),
        ("UserError", "PreemptionError: Nodes of this job got pre-empted.", FailureClass.CAPACITY),
        ("ServiceError", "The node was preempted", FailureClass.CAPACITY),
        ("UserError", "ExecutionFailed: the VM was evicted; process exited with exit code 143", FailureClass.CAPACITY),
        ("ServiceError", "Eviction of the machine", FailureClass.CAPACITY),
        *(
            ("UserError", text, FailureClass.PLATFORM)
            for code in (137, 143, 247, 241, -9, -15, 13)
            for text in (
                f"Execution failed. User process exited with exit code {code}",
                f"Execution failed. User process 'python' exited with status code {code}. Please check the log.",
                f"ExecutionFailed: returned non-zero exit status {code}.",
                f'{{"NonCompliant":"Process exited with code {code}"}} ScriptExecution',
                f"ResourceNotReady: container exited: exitCode={code}",
                f"exited with {code}",
                f'ExecutionFailed: [{{"exit_code":{code},"error_message":"Killed"}}]',
                f"ExecutionFailed: [REDACTED] exit codes: {code}",
                f"ExecutionFailed: [REDACTED]\n\texit_codes: {code}\n\tReachable: Some(true)",
                f"ExecutionFailed: exit_status={code}",
            )
        ),
        *(
            ("UserError", f"ExecutionFailed: {key}: {code}", FailureClass.CODE)
            for key in ("exit_code", "exit_codes", "exit codes", '"exit_code"')
            for code in (1, 1370, -1, 12)
        ),
        *(
            (code, text, FailureClass.BUDGET)
            for code in ("UserError", "JobTimedOut", "JobTimeout")
            for text in (
                "Job failed because it exceeded the max run duration timeout of 3600 seconds",
                "The job has reached the timeout limit",
                "the job ran longer than its limit of 12.5 s",
                "Job hit its time limit. User process exited with status code 143",
            )
        ),
        *(
            (None, text, FailureClass.PLATFORM)
            for text in ("Job failed: pulling its image exceeded the timeout", "The job reached the limit of 20 nodes")
        ),
        ("ResourceNotReady", "the container was OOMKilled", FailureClass.PLATFORM),
        ("UserError", "ExecutionFailed: killed by SIGKILL", FailureClass.PLATFORM),
        *(
            ("UserError", f"Execution failed. User process exited with exit code {text}", FailureClass.CODE)
            for text in ("1", "2", "12 after 137 rows", "12, 143 s", "1370", "-1", "-99", "9", "15", "1.137")
        ),
    ],
)
def test_a_failed_job_or_deployment_has_a_class(code: str | None, message: str | None, failure: FailureClass) -> None:
    assert failure_class(code, message) is failure


def test_words_of_a_job_itself_are_no_cause_of_the_platform() -> None:
    python = "Traceback (most recent call last):\n  File 'train.py', line 3\nRuntimeError: "
    exited = "Execution failed. User process 'python' exited with status code 1. Please check log file 'std_log.txt'. "
    words = (
        "preemption of this node is off",
        "the machine was evicted from the pool",
        "nodes of this job got pre-empted",
        "job preempted by the scheduler",
        "vCPU quota exceeded",
        "not enough quota for the VM family",
        "QuotaExceeded",
        "no capacity left in the buffer",
        "AllocationFailed in the arena",
        "process exited with code 137",
        "killed by SIGKILL",
        "AccessDenied",
    )
    expected = {exited + text: FailureClass.CODE for text in words}
    expected |= {f"{code}: {python}{text}": FailureClass.CODE for code in ("UserError", "Error") for text in words}
    expected |= dict.fromkeys(
        (
            "Token quota exceeded for instance",
            "The instance has used its tokens quota",
            "the quota of tokens per minute of this instance",
            "request quota of the region is used up",
            "Rate quota: subscription",
            "quota for the API of this region",
            "Storage quota of the subscription",
            "KV cache preemption: sequence group 3 is recomputed",
            "keys are evicted from the cache",
            "the cache evicts 12 entries",
        ),
        FailureClass.PLATFORM,
    )
    reason = "Check if the run has failed or restarted. Reason: Received pre-emption warning signal."
    expected |= dict.fromkeys(
        (
            f"AzureMLCompute job failed. PreemptionError: Nodes of this job got pre-empted. {reason}",
            reason,
            "Job was preempted",
            "The spot VM has been evicted by Azure",
            "Preempted by Azure",
            f"The node was evicted. {python}KeyboardInterrupt",
            f"AllocationFailed: no machine. {python}x",
        ),
        FailureClass.CAPACITY,
    )
    expected |= dict.fromkeys(
        (
            "The instance type exceeds the quota of the subscription",
            f"OutOfQuota: x. {python}preempted",
            "Family quota of tokens and cores: not enough quota",
        ),
        FailureClass.QUOTA,
    )
    assert len(expected) >= 50
    found = {text: failure_class(None, text) for text in expected}
    assert {text: found[text] for text in expected if found[text] is not expected[text]} == {}


GUIDE = "Please see troubleshooting guide, available here: https://aka.ms/oe-tsg#error-outofquota"


@pytest.mark.parametrize(
    ("code", "message", "becomes"),
    [
        # Someone frees or is given what is missing: waits as long as a request for quota takes.
        (
            "OutOfQuota",
            f"Not enough quota available for Standard_F4s_v2 in SubscriptionId x. {GUIDE}",
            "azure_ml_quota",
        ),
        ("OutOfQuota", f"Not enough subscription CPU quota. The amount requested is 32. {GUIDE}", "azure_ml_quota"),
        ("OutOfQuota", "Not enough cluster quota", "azure_ml_quota"),
        ("OutOfQuota", "Endpoint Quota reached for subscription x.Current usage/limit: 300/300.", "azure_ml_quota"),
        ("InferencingClientCallFailed", "Endpoint Quota reached for subscription x.", "azure_ml_quota"),
        ("RoleAssignmentLimitExceeded", "No more role assignments can be created", "azure_ml_quota"),
        ("OutOfQuota", GUIDE, "azure_ml_quota"),
        # The region has machines again after a while; a canceled operation may work when it is tried again.
        (
            "OutOfQuota",
            "The VM size was not provisioned for lack of Azure Machine Learning capacity",
            "azure_ml_capacity",
        ),
        ("OutOfCapacity", "The region has none of these machines", "azure_ml_capacity"),
        ("OperationCanceled", "Canceled by another operation of a higher priority", "azure_ml_capacity"),
        ("OperationCancelled", "It waits for a lock", "azure_ml_capacity"),
        # No wait helps.
        ("OutOfQuota", f"Container terminated due to insufficient memory. {GUIDE}", "machine_too_small"),
        ("OutOfQuota", "The model is larger than the available disk", "machine_too_small"),
        ("OutOfQuota", "Not enough disk space to download the model", "machine_too_small"),
        ("BadArgument", "Startup task failed due to authorization error", "BadArgument"),
        ("BadArgument", "Unable to download user container image", "BadArgument"),
        ("ResourceNotReady", "User container has crashed or terminated", "ResourceNotReady"),
        ("ResourceNotFound", "The storage account was not found", "ResourceNotFound"),
        ("ImageBuildFailure", "See the build log", "ImageBuildFailure"),
        ("WorkspaceManagedNetworkNotReady", "Provision the managed network first", "WorkspaceManagedNetworkNotReady"),
        ("InternalServerError", "Internal error.", "InternalServerError"),
    ],
)
def test_documented_failures_of_a_deployment_wait_or_end_it(code: str, message: str, becomes: str) -> None:
    found, says = deployment_failure(code, message)
    assert found == becomes
    assert says is not None
    assert says.removeprefix(message) == (
        ": name a larger deployment.instance_type" if becomes == "machine_too_small" else ""
    )
