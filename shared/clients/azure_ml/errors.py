"""What an exception of azure-core means: try again, or give up and why."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from azure.core import exceptions

from shared.domain.beside import composed, read_beside
from shared.domain.errors import NO_MACHINE, DroptuneError, FailureClass, PermanentFailure, Transient

_TRANSIENT_STATUS = frozenset({408, 425, 429})

# What a job printed itself follows, in words of any kind.
_TRACEBACK = "Traceback (most recent call last)"

_PATTERNS = composed(read_beside(__file__))
CLASS_BY_TEXT = tuple((pattern, FailureClass(name)) for pattern, name in _PATTERNS["class_by_text"])


def failure_class(code: str | None, message: str | None) -> FailureClass:
    """The class of a failure Azure ML reports for a job, a deployment or a request; `platform` if unknown."""
    before, of_python, _ = (message or "").partition(_TRACEBACK)
    text = re.sub(_PATTERNS["other_quota"], "", f"{code or ''} {before}{of_python}", flags=re.IGNORECASE)
    for pattern, found in CLASS_BY_TEXT:
        if re.search(pattern, text, re.IGNORECASE):
            return found
    return FailureClass.PLATFORM


def deployment_failure(code: str | None, message: str | None) -> tuple[str | None, str | None]:
    """Code and message of a deployment that failed: one of NO_MACHINE if it may work later, else what ends its rollout.

    Azure docs, "Troubleshoot online endpoints": an operation that another one canceled may work when it is tried again.
    """
    found = failure_class(code, message)
    if re.match("OperationCancel", code or "", re.IGNORECASE):
        found = FailureClass.CAPACITY
    if found is FailureClass.RECIPE:
        return "machine_too_small", f"{message}: name a larger deployment.instance_type"
    ours = f"azure_ml_{found.value}"
    return ours if ours in NO_MACHINE else code, message


def translate(error: Exception) -> DroptuneError:
    """Transient, or PermanentFailure with its class."""
    if isinstance(error, (exceptions.ServiceRequestError, exceptions.ServiceResponseError)):
        return Transient("azure_ml_unreachable", _first_line(error))
    if isinstance(error, exceptions.HttpResponseError):
        return _of_answer(error)
    # What is left is of no answer: something that can never be sent was to be sent.
    return PermanentFailure(FailureClass.CODE, "azure_ml_invalid_request", _first_line(error))


def _of_answer(error: exceptions.HttpResponseError) -> DroptuneError:
    status = error.status_code
    code, message = str(getattr(error.error, "code", None) or status), _first_line(error)
    known = failure_class(code, message)
    if known in (FailureClass.QUOTA, FailureClass.CAPACITY) and status is not None and status < 500:
        return PermanentFailure(known, f"azure_ml_{known.value}", message)
    if status is None:  # a token could not be had, or an answer could not be read
        return Transient("azure_ml_unreachable", message)
    # Also just after a deletion.
    if status in (400, 409) and re.search(_PATTERNS["name_taken"], message, re.IGNORECASE):
        taken = f"{message}: choose another name if it is not yours"
        return PermanentFailure(FailureClass.PLATFORM, "endpoint_name_taken", taken, "deployment.endpoint")
    early = status == 400 and re.search(_PATTERNS["too_early"], message, re.IGNORECASE)
    if early or status in _TRANSIENT_STATUS or status >= 500 or (status == 409 and not _is_final(code, message)):
        return Transient("azure_ml_busy", f"{status} {code}: {message}")
    if status in (401, 403) or isinstance(error, exceptions.ClientAuthenticationError):
        return PermanentFailure(FailureClass.PLATFORM, "azure_ml_access_denied", message)
    if status == 404:
        return PermanentFailure(FailureClass.PLATFORM, "azure_ml_not_found", f"{code}: {message}")
    return PermanentFailure(FailureClass.PLATFORM, "azure_ml_refused", f"{code}: {message}")


def _is_final(code: str, message: str) -> bool:
    """Of a conflict: a version of a model, an environment or data never changes. Any other is with what is under way,
    in many wordings: "Conflict of operation, another operation on same entity is already running in workspace"."""
    if re.search(_PATTERNS["under_way"], message, re.IGNORECASE):
        return False
    return code == "UserError" or re.search(_PATTERNS["fixed"], f"{code} {message}", re.IGNORECASE) is not None


@contextmanager
def translated() -> Iterator[None]:
    """Raises failures of azure-core as ours."""
    try:
        yield
    except (exceptions.AzureError, ValueError, TypeError) as error:
        raise translate(error) from error


def _first_line(error: Exception) -> str:
    """The service's own sentence, without azure-core's framing and echo of the content, and the causes it names: an
    endpoint's refusal is "The request is invalid." with the quota in its details (MicrosoftLearning/mslearn-azure-ml
    issue 30)."""
    detail = getattr(error, "error", None)
    text = str(getattr(detail, "message", None) or getattr(error, "message", None) or error)
    causes = (f"{cause.code}: {cause.message}" for cause in getattr(detail, "details", None) or ())
    return "; ".join([text.strip().split("\n", 1)[0], *causes])[:1000] or type(error).__name__
