"""What an exception of the Azure SDK means: try again, give up and why, or simply not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)

from shared.domain.errors import DroptuneError, FailureClass, PermanentFailure, Transient

_TRANSIENT_STATUS = frozenset({408, 425, 429})

# Words that a quota of compute is named with: other texts speak of the quota of a disk, of tokens or of requests.
_COMPUTE = (
    r"\b(v?CPUs?|cores?|VMs?|GPUs?|machines?|compute|famil(y|ies)|instances?|sku|subscription|region|Standard_\w+)\b"
)
_MACHINE = r"\b(nodes?|jobs?|VMs?|machines?|Azure)\b"
_NO_COMPUTE = r"(disk|storage|files?|inodes?|memory|tokens?|requests?|rate|api)"
_OTHER_QUOTA = rf"\b{_NO_COMPUTE}\W+quota\b|\bquota (of|for|on) (the )?{_NO_COMPUTE}\b"

# SIGKILL, of the kernel where memory is used up or of a machine that goes away, and SIGTERM, after which it goes away.
# 247 and 241 are what a shell makes of Python's -9 and -15.
_SIGNALS = r"(137|143|247|241|-9|-15)\b"
_WITH = r"\b\W*((with|was|is|of|a|non-?zero|exit|status|code|value)\b\W*?)*"
_EXIT = r"exit(ed|[_ ]?(code|status)(e?s)?)?"  # also the keys `exit_code` and `exit_codes`
_KILLED = rf"\b({_EXIT}|status|code){_WITH}(?<!\w){_SIGNALS}|SIGKILL|SIGTERM|OOM-?Killed"
_EXITED = rf"\b{_EXIT}{_WITH}(?<![\w-])(?!{_SIGNALS})-?[1-9]\d*\b"
_TIME = r"(time-?out limit|time limit|run(ning)? ?(duration|time)|limit of [\d.]+ ?s(ec\w*)?\b)"
_TIME_LIMIT = rf"\bJob(TimedOut|Timeout|MaxRunDuration)|\bjob\b[^.]*\b(exceed|reach|longer than|hit)[^.]*\b{_TIME}"

# Of requests that come too early, which may be answered 400 like those that can never be carried out.
_TOO_EARLY = (
    r"\btransition(al|ing)? state|\b(another|active) operation|\bbeing (creat|updat|delet)ed\b"
    r"|\b(is|in|state|status)\W+(an? )?(creat|updat|delet|scal)ing\b"
)
# Texts of conflicts (409).
_UNDER_WAY = (
    r"\b(another|active|pending) operation|operation\b[^.]*\b(progress|running|pending)|transition|try again|retry"
    r"|(state|status)( is|:|=)? \W?\w+ing\b|\b(?!provisioning)\w+ing\W+state\b|\bbeing (creat|updat|delet)ed\b"
)
_FIXED = r"immutable|cannot be (updated|changed)|different (properties|content)|already (exists|taken|in use)|is taken"

# What a job printed itself follows, in words of any kind.
_TRACEBACK = "Traceback (most recent call last)"

# First match wins; tried on "CODE MESSAGE" without regard to case. Azure docs: "Troubleshoot online
# endpoints" (deployment failures) and "Manage quotas"; the compute error codes are those of Azure VMs.
CLASS_BY_TEXT: tuple[tuple[str, FailureClass], ...] = (
    # Exit codes of our jobs (training_job/job/exit_codes.py), where no disk took their result.
    (rf"\b{_EXIT}{_WITH}(?<![\w-])13\b", FailureClass.PLATFORM),
    (rf"\b{_EXIT}{_WITH}(?<![\w-])14\b", FailureClass.CAPACITY),
    (_EXITED, FailureClass.CODE),  # by itself: it had its machine, whatever its own words say
    (_TIME_LIMIT, FailureClass.BUDGET),  # it had the time that was planned for it
    (r"AllocationFailed|OutOfCapacity|OverconstrainedAllocation|SkuNotAvailable", FailureClass.CAPACITY),
    (r"(no|insufficient|not enough|lack of) (available )?capacity", FailureClass.CAPACITY),
    (r"\b(OutOf(Vm)?Quota|QuotaExceeded|\w*CoreQuotaReached|InsufficientQuota)\b|not enough quota", FailureClass.QUOTA),
    (rf"{_COMPUTE}[^.]*\bquota\b|\bquota\b[^.]*{_COMPUTE}", FailureClass.QUOTA),
    # "Nodes of this job got pre-empted": MachineLearningNotebooks issue 1242.
    (rf"\bpre-?emption ?(error|warning)|{_MACHINE}[^.]*\b(pre-?empt|evict)", FailureClass.CAPACITY),
    (rf"\b(pre-?empt|evict)\w* (of|by|on) [^.]*{_MACHINE}", FailureClass.CAPACITY),
    (_KILLED, FailureClass.PLATFORM),
    (rf"ResourceNotReady|ExecutionFailed|exited with|ScriptExecution|{re.escape(_TRACEBACK)}", FailureClass.CODE),
    (r"Authorization|AccessDenied|Forbidden|ImageBuildFailure|BadArgument", FailureClass.PLATFORM),
)


def failure_class(code: str | None, message: str | None) -> FailureClass:
    """The class of a failure Azure ML reports for a job, a deployment or a request; `platform` if unknown."""
    before, of_python, _ = (message or "").partition(_TRACEBACK)
    text = re.sub(_OTHER_QUOTA, "", f"{code or ''} {before}{of_python}", flags=re.IGNORECASE)
    for pattern, found in CLASS_BY_TEXT:
        if re.search(pattern, text, re.IGNORECASE):
            return found
    return FailureClass.PLATFORM


def translate(error: Exception) -> DroptuneError | None:
    """Transient, PermanentFailure with its class, or None for "there is no such thing" (404)."""
    if isinstance(error, DroptuneError):
        return error
    if isinstance(error, (ServiceRequestError, ServiceResponseError)):
        return Transient("azure_ml_unreachable", _first_line(error))
    if isinstance(error, HttpResponseError):
        return _of_answer(error)
    # What is left are the SDK's own refusals: it was asked for something that can never be sent.
    return PermanentFailure(FailureClass.CODE, "azure_ml_invalid_request", _first_line(error))


def _of_answer(error: HttpResponseError) -> DroptuneError | None:
    status = error.status_code
    code, message = str(getattr(error.error, "code", None) or status), _first_line(error)
    if status == 404:
        return None
    known = failure_class(code, message)
    if known in (FailureClass.QUOTA, FailureClass.CAPACITY) and status is not None and status < 500:
        return PermanentFailure(known, f"azure_ml_{known.value}", message)
    if status is None:  # a token could not be had, or an answer could not be read
        return Transient("azure_ml_unreachable", message)
    early = status == 400 and re.search(_TOO_EARLY, message, re.IGNORECASE)
    if early or status in _TRANSIENT_STATUS or status >= 500 or (status == 409 and not _is_final(code, message)):
        return Transient("azure_ml_busy", f"{status} {code}: {message}")
    if status in (401, 403) or isinstance(error, ClientAuthenticationError):
        return PermanentFailure(FailureClass.PLATFORM, "azure_ml_access_denied", message)
    return PermanentFailure(FailureClass.PLATFORM, "azure_ml_refused", f"{code}: {message}")


def _is_final(code: str, message: str) -> bool:
    """Of a conflict: a version of a model, an environment or data never changes. Any other is with what is under way,
    in many wordings: "Conflict of operation, another operation on same entity is already running in workspace"."""
    if re.search(_UNDER_WAY, message, re.IGNORECASE):
        return False
    return code == "UserError" or re.search(_FIXED, f"{code} {message}", re.IGNORECASE) is not None


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raises failures of the SDK as ours; `what` names the thing whose absence is a failure here."""
    try:
        yield
    except (AzureError, ValueError, TypeError) as error:
        found = translate(error)
        if found is None:
            found = PermanentFailure(FailureClass.PLATFORM, "azure_ml_not_found", f"{what} does not exist")
        raise found from error


def _first_line(error: Exception) -> str:
    """The service's own sentence, without the SDK's framing and its echo of the content."""
    detail = getattr(error, "error", None)
    text = str(getattr(detail, "message", None) or getattr(error, "message", None) or error)
    return text.strip().split("\n", 1)[0][:1000] or type(error).__name__
