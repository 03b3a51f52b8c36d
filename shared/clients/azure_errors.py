"""What a failure of the Azure data-plane SDKs means, in one table: by class, by code, by HTTP status.

Named by their full names, so that the SDK of a service that is not used is not imported. A test holds
`BY_CLASS` to every exception class of the installed SDKs.
"""

from __future__ import annotations

from enum import StrEnum

from shared.domain.errors import DroptuneError, FailureClass, PermanentFailure, StoreConflict, Transient


class Meaning(StrEnum):
    """What is known after a failed call."""

    RETRY = "retry"  # nothing was done; the same call may work later
    UNKNOWN = "unknown"  # it may have been done or not: read, then try again
    CONFLICT = "conflict"  # another version is there
    EXISTS = "exists"  # something of that name is there
    ABSENT = "absent"  # nothing of that name is there
    PERMANENT = "permanent"  # the same call will never work
    BY_ANSWER = "by answer"  # the service answered: BY_CODE and BY_STATUS decide


_M = Meaning
BY_CLASS: dict[str, Meaning] = {
    "azure.core.exceptions.AzureError": _M.UNKNOWN,
    "azure.core.exceptions.ServiceRequestError": _M.RETRY,  # it never reached the service
    "azure.core.exceptions.ServiceRequestTimeoutError": _M.RETRY,
    "azure.core.exceptions.ServiceResponseError": _M.UNKNOWN,  # it was sent, the answer was lost
    "azure.core.exceptions.ServiceResponseTimeoutError": _M.UNKNOWN,
    "azure.core.exceptions.HttpResponseError": _M.BY_ANSWER,
    "azure.core.exceptions.ODataV4Error": _M.BY_ANSWER,
    "azure.core.exceptions.ResourceExistsError": _M.BY_ANSWER,
    "azure.core.exceptions.ResourceModifiedError": _M.BY_ANSWER,
    "azure.core.exceptions.ResourceNotFoundError": _M.BY_ANSWER,
    "azure.core.exceptions.ResourceNotModifiedError": _M.BY_ANSWER,
    "azure.core.exceptions.TooManyRedirectsError": _M.PERMANENT,
    # Without a status no token could be had, which passes; with one the service has refused it.
    "azure.core.exceptions.ClientAuthenticationError": _M.BY_ANSWER,
    "azure.core.exceptions.DecodeError": _M.UNKNOWN,  # the answer could not be read
    "azure.core.exceptions.IncompleteReadError": _M.UNKNOWN,
    "azure.core.exceptions.StreamConsumedError": _M.PERMANENT,
    "azure.core.exceptions.StreamClosedError": _M.PERMANENT,
    "azure.core.exceptions.ResponseNotReadError": _M.PERMANENT,
    "azure.core.exceptions.SerializationError": _M.PERMANENT,
    "azure.core.exceptions.DeserializationError": _M.UNKNOWN,
    "azure.cosmos.exceptions.CosmosHttpResponseError": _M.BY_ANSWER,
    "azure.cosmos.exceptions.CosmosResourceNotFoundError": _M.BY_ANSWER,
    "azure.cosmos.exceptions.CosmosResourceExistsError": _M.BY_ANSWER,
    "azure.cosmos.exceptions.CosmosAccessConditionFailedError": _M.BY_ANSWER,
    "azure.cosmos.exceptions.CosmosBatchOperationError": _M.BY_ANSWER,
    "azure.cosmos.exceptions.CosmosClientTimeoutError": _M.UNKNOWN,
    "azure.storage.blob._shared.response_handlers.PartialBatchErrorException": _M.UNKNOWN,
}

# Blob Storage: `x-ms-error-code` (REST documentation, "Blob service error codes" and "Common REST API
# error codes"). Cosmos DB: 404 with `x-ms-substatus` (SDK source, azure.cosmos.http_constants.SubStatusCodes).
BY_CODE: dict[str, Meaning] = {
    "BlobNotFound": _M.ABSENT,
    "BlobAlreadyExists": _M.EXISTS,
    "ConditionNotMet": _M.CONFLICT,
    "TargetConditionNotMet": _M.CONFLICT,
    "InvalidBlockList": _M.CONFLICT,  # another writer's commit has dropped the blocks staged by this one
    "LeaseIdMissing": _M.CONFLICT,
    "ContainerNotFound": _M.PERMANENT,  # a container is part of the infrastructure
    "ResourceNotFound": _M.ABSENT,
    "ContainerBeingDeleted": _M.RETRY,
    "ContainerDisabled": _M.PERMANENT,
    "AccountBeingCreated": _M.RETRY,
    "AccountIsDisabled": _M.PERMANENT,
    "BlobArchived": _M.PERMANENT,
    "BlobBeingRehydrated": _M.RETRY,
    "SnapshotsPresent": _M.PERMANENT,
    "Md5Mismatch": _M.RETRY,  # damaged on the way and refused by the service
    "ServerBusy": _M.RETRY,
    "OperationTimedOut": _M.UNKNOWN,
    "InternalError": _M.UNKNOWN,
    "cosmos 403/3": _M.RETRY,  # the write region is another one now; the SDK learns of it
    "cosmos 403/1008": _M.RETRY,  # the account in this region is being moved
    "cosmos 404/1002": _M.RETRY,  # the replica asked has not seen this session's last write yet
    "cosmos 404/1003": _M.PERMANENT,  # not the document but its database or container is absent
}

# Of a token from a clock that differs (learn.microsoft.com/azure/cosmos-db/troubleshoot-unauthorized).
_NOT_NOW = "not valid at the current time"

BY_STATUS: dict[int, Meaning] = {
    304: _M.CONFLICT,
    404: _M.ABSENT,
    408: _M.UNKNOWN,
    409: _M.EXISTS,
    410: _M.RETRY,
    412: _M.CONFLICT,
    424: _M.RETRY,  # a batch of which nothing was applied
    425: _M.RETRY,
    429: _M.RETRY,
    449: _M.RETRY,
    500: _M.UNKNOWN,
    502: _M.UNKNOWN,
    503: _M.RETRY,
    504: _M.UNKNOWN,
}


def meaning(error: BaseException) -> Meaning:
    """The meaning of an SDK's exception; `unknown` for a class in no table."""
    found = next((BY_CLASS[name] for name in map(_name, type(error).__mro__) if name in BY_CLASS), Meaning.UNKNOWN)
    if found is not Meaning.BY_ANSWER:
        return found
    status = getattr(error, "status_code", None)
    if not status:
        return Meaning.RETRY if _name(type(error)).endswith("ClientAuthenticationError") else Meaning.UNKNOWN
    if status == 401 and _NOT_NOW in str(error).lower():
        return Meaning.RETRY
    known = BY_CODE.get(_code(error, status)) or BY_STATUS.get(status)
    return known or (Meaning.UNKNOWN if status >= 500 else Meaning.PERMANENT)


def failure(service: str, error: Exception, what: str) -> DroptuneError:
    """Our error for the SDK's: Transient, StoreConflict about `what`, or PermanentFailure.

    `service` begins the code: `cosmos_busy`, `cosmos_unreachable`, `cosmos_not_found`, `cosmos_refused`. Callers
    for whom absence is an answer look at `meaning` first.
    """
    found = meaning(error)
    text = first_line(error)
    if found is Meaning.RETRY:
        return Transient(f"{service}_busy", text)
    if found is Meaning.UNKNOWN:
        return Transient(f"{service}_unreachable", text)
    if found in (Meaning.CONFLICT, Meaning.EXISTS):
        return StoreConflict(what)
    code = "not_found" if found is Meaning.ABSENT else "refused"
    return PermanentFailure(FailureClass.PLATFORM, f"{service}_{code}", f"{what}: {text}")


def first_line(error: Exception) -> str:
    """The service's sentence, without the SDK's framing and any echo of the content."""
    text = str(getattr(error, "message", None) or error)
    return " ".join(text.split("\n", 2)[:2]).strip()[:500] or type(error).__name__


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _code(error: BaseException, status: int) -> str:
    sub_status = getattr(error, "sub_status", None)
    if sub_status:
        return f"cosmos {status}/{sub_status}"
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code))
