"""Failures and what may be done about them.

DroptuneError
├── InvalidInput      the caller's fault; becomes an answer or an outcome, never a retry
├── Transient         may work later; the runner schedules the event again
│   └── WaitsForRelease    a document that cannot be read; may work once a person has released it
├── LaterVersion      written by a later version of the program; left to hosts of that version
├── PermanentFailure  will not work; the runner states `stage.refused` with its class
├── StoreConflict     another writer was first; read again
├── LockLost          the lock of a message expired; the message is delivered again
└── BlobNotFound      there is no blob at the path; the caller decides what that means
"""

import math
import traceback
from enum import StrEnum
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from shared.domain.beside import read_beside


class FailureClass(StrEnum):
    """Why a run cannot continue; each class has one retry rule (`RETRY_RULES`)."""

    DATA = "data"
    RECIPE = "recipe"
    LICENSE = "license"
    BUDGET = "budget"
    QUOTA = "quota"
    CAPACITY = "capacity"
    PLATFORM = "platform"
    CODE = "code"


class RetryRule(NamedTuple):
    """How often a stage is tried in all, and the wait before the second try in units of the base wait. Later waits
    double, up to `longest_wait`. With `lasts` that time counts, in the same units, and not the tries."""

    attempts: int
    first_wait: float
    longest_wait: float = math.inf
    lasts: float = 0


RETRY_RULES = {FailureClass(name): RetryRule(*rule) for name, rule in read_beside(__file__)["retry_rules"].items()}

MAX_CODE_CHARACTERS, MAX_MESSAGE_CHARACTERS = 200, 4000
# Codes of a deployment for which there is no machine, whether it was refused at once or failed after it was accepted.
NO_MACHINE = {f"azure_ml_{one.value}": one for one in (FailureClass.QUOTA, FailureClass.CAPACITY)}

OVERLOADED = "endpoint_overloaded"  # of a Transient: 429, more requests than it takes


def shortened(text: str, characters: int = MAX_MESSAGE_CHARACTERS) -> str:
    """At most so many characters of it, the last a mark if some are left out."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


class UnreadableDocument(BaseModel):
    """A document of the run store that this version cannot read. A list names it and holds the others."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    type: str
    partition: str = Field(description="a run's id, or the name of a claim")
    id: str
    problem: str


class Problem(BaseModel):
    """The error object of every surface: API, events, the run and the job's result file. Its texts come from jobs, rows
    and recipes too. They are cut, so that it fits into any event."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    code: Annotated[str, AfterValidator(lambda code: shortened(code, MAX_CODE_CHARACTERS))]
    message: Annotated[str, AfterValidator(shortened)]
    param: Annotated[str | None, AfterValidator(lambda param: param and shortened(param))] = None


class DroptuneError(Exception):
    """Base of every failure this project raises on purpose."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.problem = Problem(code=code, message=message, param=param)


def ascii_traceback(error: BaseException) -> str:
    """A line break and the traceback, for a log: a message may hold half of a surrogate pair, which none can encode."""
    return "\n" + "".join(traceback.format_exception(error)).encode("ascii", "backslashreplace").decode()


def unforeseen(where: str, error: Exception) -> Problem:
    """What is said of a bug: not its message, which may quote the rows."""
    message = f"{where} raised {type(error).__name__} at each delivery; the log has its traceback"
    return Problem(code="unforeseen_error", message=message)


class InvalidInput(DroptuneError):
    """The input is wrong; trying again cannot help."""


class Transient(DroptuneError):
    """A service did not answer as it should; the same call may work later."""


class WaitsForRelease(Transient):
    """A document that cannot be read: what needs it works once a person has released it."""

    def __init__(self, partition: str, id: str) -> None:
        remedy = f"`droptune dlq release {partition} --id {id}` repairs it or takes it out"
        super().__init__("unreadable_document", f"{id} of {partition} cannot be read: {remedy}", partition)


class LaterVersion(DroptuneError):
    """A later version of the program wrote it, in a form that this one does not know."""


class PermanentFailure(DroptuneError):
    """A step cannot do its work; carries the failure class that decides about another attempt."""

    def __init__(self, failure_class: FailureClass, code: str, message: str, param: str | None = None) -> None:
        super().__init__(code, message, param)
        self.failure_class = failure_class


class StoreConflict(DroptuneError):
    """A conditional write lost against another writer."""

    def __init__(self, what: str) -> None:
        super().__init__("store_conflict", f"{what} was changed by another writer")


class LockLost(DroptuneError):
    """A message's lock expired before it was settled; it will be delivered again."""

    def __init__(self, message_id: str) -> None:
        super().__init__("lock_lost", f"the lock of message {message_id} is gone")


class BlobNotFound(DroptuneError):
    """There is no blob at the path."""

    def __init__(self, path: str) -> None:
        super().__init__("blob_not_found", f"no blob at {path}", path)
