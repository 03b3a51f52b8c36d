"""Every failure the installed SDKs can raise has a meaning of ours."""

from __future__ import annotations

import inspect
import types
from typing import Any

import azure.core.exceptions
import azure.cosmos.exceptions
import azure.storage.blob
import pytest
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseTimeoutError,
)
from azure.cosmos.exceptions import CosmosBatchOperationError, CosmosHttpResponseError, CosmosResourceNotFoundError
from azure.cosmos.http_constants import SubStatusCodes
from azure.storage.blob import StorageErrorCode

from shared.clients.azure_errors import BY_CLASS, BY_CODE, Meaning, failure, meaning
from shared.domain.errors import DroptuneError, FailureClass, PermanentFailure, StoreConflict, Transient


def exception_classes(*modules: types.ModuleType) -> set[str]:
    return {
        f"{found.__module__}.{found.__qualname__}"
        for module in modules
        for found in vars(module).values()
        if inspect.isclass(found) and issubclass(found, Exception) and found.__module__.startswith("azure.")
    }


def test_every_exception_class_of_the_installed_sdks_is_in_the_table() -> None:
    installed = exception_classes(azure.core.exceptions, azure.cosmos.exceptions, azure.storage.blob)
    assert len(installed) >= 27
    assert installed == {name for name in BY_CLASS if not name.startswith("azure.servicebus.")}


def test_every_code_in_the_table_is_one_the_services_send() -> None:
    sent = {code.value for code in StorageErrorCode} | {
        f"cosmos {status}/{code}"
        for status in (403, 404)
        for code in vars(SubStatusCodes).values()
        if isinstance(code, int)
    }
    assert set(BY_CODE) <= sent


def answered(status: int, code: str | None = None) -> Any:
    error: Any = HttpResponseError("the service's sentence")
    error.status_code = status
    if code:
        error.error_code = StorageErrorCode(code)
    return error


def batch_failed(status: int) -> CosmosBatchOperationError:
    return CosmosBatchOperationError(error_index=0, headers={}, status_code=status, message="no")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ServiceRequestError("no route"), Meaning.RETRY),
        (ServiceResponseTimeoutError("no answer"), Meaning.UNKNOWN),
        (AzureError("anything"), Meaning.UNKNOWN),
        (ClientAuthenticationError("no token"), Meaning.RETRY),
        (answered(401), Meaning.PERMANENT),
        (answered(403), Meaning.PERMANENT),
        (answered(404, "BlobNotFound"), Meaning.ABSENT),
        (answered(404, "ContainerNotFound"), Meaning.PERMANENT),
        (answered(409, "BlobAlreadyExists"), Meaning.EXISTS),
        (answered(409, "ContainerBeingDeleted"), Meaning.RETRY),
        (answered(409, "SnapshotsPresent"), Meaning.PERMANENT),
        (answered(412, "ConditionNotMet"), Meaning.CONFLICT),
        (answered(400, "InvalidBlockList"), Meaning.CONFLICT),
        (answered(400, "Md5Mismatch"), Meaning.RETRY),
        (answered(400, "InvalidInput"), Meaning.PERMANENT),
        (answered(503, "ServerBusy"), Meaning.RETRY),
        (answered(500, "OperationTimedOut"), Meaning.UNKNOWN),
        (answered(507), Meaning.UNKNOWN),
        (CosmosHttpResponseError(429, "too many requests"), Meaning.RETRY),
        (CosmosHttpResponseError(449, "retry with"), Meaning.RETRY),
        (CosmosHttpResponseError(413, "too large"), Meaning.PERMANENT),
        (CosmosHttpResponseError(401, "The authorization token is not valid at the current time."), Meaning.RETRY),
        (CosmosHttpResponseError(401, "The input authorization token can't serve the request."), Meaning.PERMANENT),
        (CosmosHttpResponseError(403, "moving", sub_status=3), Meaning.RETRY),
        (CosmosHttpResponseError(403, "moving", sub_status=1008), Meaning.RETRY),
        (CosmosHttpResponseError(403, "blocked by a firewall"), Meaning.PERMANENT),
        (CosmosHttpResponseError(403, "partition is full", sub_status=1014), Meaning.PERMANENT),
        (CosmosResourceNotFoundError(404, "nothing"), Meaning.ABSENT),
        (CosmosResourceNotFoundError(404, "not yet", sub_status=1002), Meaning.RETRY),
        (CosmosResourceNotFoundError(404, "no container", sub_status=1003), Meaning.PERMANENT),
        (batch_failed(409), Meaning.EXISTS),
        (batch_failed(412), Meaning.CONFLICT),
        (batch_failed(404), Meaning.ABSENT),
        (batch_failed(424), Meaning.RETRY),
        (batch_failed(429), Meaning.RETRY),
    ],
)
def test_a_failure_means_what_the_documentation_says(error: Exception, expected: Meaning) -> None:
    assert meaning(error) is expected


def test_a_class_nobody_knows_yet_means_what_its_parent_means() -> None:
    class NewInTheNextRelease(ServiceRequestError):
        pass

    assert meaning(NewInTheNextRelease("?")) is Meaning.RETRY
    assert meaning(RuntimeError("?")) is Meaning.UNKNOWN


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (answered(503, "ServerBusy"), Transient, "blob_busy"),
        (ServiceResponseTimeoutError("no answer"), Transient, "blob_unreachable"),
        (answered(412, "ConditionNotMet"), StoreConflict, "store_conflict"),
        (answered(409, "BlobAlreadyExists"), StoreConflict, "store_conflict"),
        (answered(404, "BlobNotFound"), PermanentFailure, "blob_not_found"),
        (answered(403), PermanentFailure, "blob_refused"),
    ],
)
def test_a_failure_becomes_one_of_ours(error: Exception, kind: type[DroptuneError], code: str) -> None:
    found: Any = failure("blob", error, "blob runs/a")
    assert type(found) is kind
    assert found.problem.code == code
    if isinstance(found, PermanentFailure):
        assert found.failure_class is FailureClass.PLATFORM
        assert found.problem.message == "blob runs/a: the service's sentence"
