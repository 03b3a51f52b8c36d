"""What a failure of the Azure data-plane SDKs means, in one table: by class, by code, by HTTP status.

Named by their full names, so that the SDK of a service that is not used is not imported. A test holds
`BY_CLASS` to every exception class of the installed SDKs.
"""

from enum import StrEnum

from shared.domain.beside import read_beside
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


_TABLES: dict[str, dict[str, str]] = read_beside(__file__)
BY_CLASS, BY_CODE, BY_STATUS = (
    {name: Meaning(value) for name, value in _TABLES[table].items()} for table in ("class", "code", "status")
)
# Of a token from a clock that differs (learn.microsoft.com/azure/cosmos-db/troubleshoot-unauthorized).
_NOT_NOW = "not valid at the current time"


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
    known = BY_CODE.get(_code(error, status)) or BY_STATUS.get(str(status))
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
