"""Subscriptions: who gets which events, and where. A target's URL may be a secret: `masked` is what leaves the app."""

import difflib
from collections.abc import Iterator, Sequence
from enum import StrEnum
from fnmatch import filter as matching
from fnmatch import fnmatch
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field

from shared.domain.errors import Problem
from shared.domain.events import EVENT_TYPES, Event, EventData, Severity
from shared.domain.model import Finite, Lenient, Person, UtcTime
from shared.domain.recipe import DEFAULT_NOTIFY_EVENTS, SUBSCRIPTION_NAME, Name
from shared.domain.urls import ascii_host, check_web_url

MAX_SUBSCRIPTIONS = 20  # of a project, and of all: an event is stored with its deliveries in one batch of 100 writes
MAX_ATTEMPTS_KEPT = 30
_KNOWN = [cls.short_type() for cls in EVENT_TYPES.values()]
_Url = Annotated[str, Field(max_length=8000, repr=False)]  # RFC 9110, section 4.1: what everybody should take at least
WebUrl = Annotated[_Url, Field(pattern=r"^https?://"), AfterValidator(check_web_url)]


class _Target(Finite):
    unsigned: ClassVar[str] = ""  # why its receiver cannot check who has sent something
    url: WebUrl

    @property
    def host(self) -> str:
        """As the resolver and the policy get it; empty if it has no such form."""
        try:
            return ascii_host(urlsplit(self.url))
        except ValueError:
            return ""

    def masked(self) -> Self:
        """With scheme, host and port of its URL: path, query and user may be secrets of the receiver."""
        parts = urlsplit(self.url)
        return self.model_copy(update={"url": f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/***"})


class Webhook(_Target):
    """CloudEvents over HTTP, signed as Standard Webhooks has it."""

    type: Literal["webhook"]
    mode: Literal["structured", "binary"] = Field(
        default="structured", description="binary: attributes as `ce-` headers, and the data alone as the body"
    )


class EventGrid(_Target):
    """A topic of Event Grid that takes CloudEvents 1.0; the app's identity sends."""

    type: Literal["event_grid"]


class Teams(_Target):
    """A workflow of Teams: "Post to a channel when a webhook request is received"."""

    type: Literal["teams"]
    unsigned = "a workflow checks no signature: who knows its URL can post to the channel"


class Slack(_Target):
    """An incoming webhook of Slack."""

    type: Literal["slack"]
    unsigned = "Slack checks no signature: who knows the URL can post to the channel"


Target = Annotated[Webhook | EventGrid | Teams | Slack, Field(discriminator="type")]
Patterns = Annotated[
    tuple[Annotated[str, Field(max_length=100)], ...],
    Field(min_length=1, max_length=50, description="events, or patterns such as `run.*` and `*`"),
]


class SubscriptionRequest(Finite):
    """A subscription to create."""

    model_config = ConfigDict(defer_build=False)  # FastAPI cannot take the body of a route otherwise

    name: str = Field(
        pattern=SUBSCRIPTION_NAME, max_length=64, description="of one in its project, or among those of all projects"
    )
    project: Name | None = Field(default=None, description="null: of every project, for administrators")
    target: Target
    events: Patterns = DEFAULT_NOTIFY_EVENTS
    severity: Severity = Field(default=Severity.INFO, description="the least that an event must have")


class SubscriptionChange(Finite):
    """What of a subscription is to be another; what is not given stays."""

    model_config = ConfigDict(defer_build=False)

    target: Target | None = None
    events: Patterns | None = None
    severity: Severity | None = None
    enabled: bool | None = None


class SubscriptionBase(Lenient):
    """Without its keys. `id` is of this one alone: one of the same name, written later, has another."""

    id: str
    name: str
    project: str | None
    target: Target
    events: tuple[str, ...]
    severity: Severity
    created_by: Person
    created_at: UtcTime
    version: int = Field(default=1, description="counts what people changed")
    failing_since: UtcTime | None = Field(default=None, description="nothing was delivered since")
    disabled: Problem | None = Field(default=None, description="why it gets nothing")
    disabled_at: UtcTime | None = None


class Subscription(SubscriptionBase):
    """As it is stored."""

    keys: tuple[str, ...] = Field(repr=False, description="each message is signed with both; the newest first")

    def wants(self, data: EventData) -> bool:
        return data.severity.rank >= self.severity.rank and is_among(data.short_type(), self.events)

    def event(self, data: EventData, time: UtcTime, key: str) -> dict[str, Any]:
        """A CloudEvent about it. `key` tells two of a type apart."""
        of = {"run_id": self.id, "project": self.project or "*", "attempt": 0, "revision": self.version}
        return Event(data=data, **of, time=time, key=key).to_cloudevent()


def is_among(short_type: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(short_type, pattern) for pattern in patterns)


def unknown_events(patterns: Sequence[str]) -> Iterator[str]:
    """In words, each pattern that no event has, with the nearest name."""
    for pattern in patterns:
        if not matching(_KNOWN, pattern):
            nearest = difflib.get_close_matches(pattern, _KNOWN, n=3)
            hint = f"did you mean {' or '.join(nearest)}?" if nearest else "docs/reference/events.md lists them"
            yield f"no event is named {pattern}; {hint}"


class DeliveryState(StrEnum):
    """`pending` is tried again by itself, `failed` is not any more, `held` came while the subscription was disabled."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    HELD = "held"


class Attempt(Lenient):
    """One request. `status` of the answer, or the code of why there is none; `ms` up to then."""

    at: UtcTime
    status: int | None = None
    code: str | None = None
    ms: float


class DeliveryRecord(Lenient):
    """What became of one event at one subscription."""

    event: dict[str, Any] = Field(description="the CloudEvent")
    state: DeliveryState
    noted_at: UtcTime
    attempts: tuple[Attempt, ...] = Field(default=(), description=f"the last {MAX_ATTEMPTS_KEPT}")
