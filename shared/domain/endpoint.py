"""What is in production at an endpoint, and what its deployments cost by the list prices of the catalog."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from pydantic import AwareDatetime, Field

from shared.domain import paths
from shared.domain.catalog import SKUS
from shared.domain.errors import Problem
from shared.domain.model import Lenient
from shared.domain.run import Run


class Stopped(Lenient):
    """The deployment was deleted and costs nothing; `droptune endpoints restore` deploys the model again."""

    deployment: str = Field(description="an earlier version of the app may have promoted another one since")
    at: AwareDatetime
    reason: str


class Baseline(Lenient):
    """How a deployment answered when its model was promoted: what `monitor_endpoints` compares with."""

    as_evaluated: float = Field(description="share of the probe's questions that were answered as in the evaluation")
    latency_s: float | None = Field(description="median of those answers")
    requests_latency_s: float | None = Field(
        default=None, description="median of all requests, as Azure Monitor first knew it after the promotion"
    )


class HealthState(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    DOWN = "down"


class EndpointHealth(Lenient):
    """How the deployment in production answers. `state` is what two probes in a row agreed on."""

    state: HealthState = HealthState.HEALTHY
    since: AwareDatetime
    problem: Problem | None = Field(default=None, description="why it is not healthy, with its numbers")
    deployment: str = Field(description="the one that was probed last")
    found: HealthState = Field(default=HealthState.HEALTHY, description="by the last probe")
    in_a_row: int = Field(default=0, description="probes up to the last that found it well, or not well")
    probed_at: AwareDatetime

    def after(self, found: HealthState, problem: Problem | None, deployment: str, now: datetime) -> Self:
        """With another probe: what one alone finds changes no state."""
        is_well, was_well = found is HealthState.HEALTHY, self.state is HealthState.HEALTHY
        goes_on = self.deployment == deployment and (self.found is HealthState.HEALTHY) == is_well
        row = self.in_a_row + 1 if goes_on else 1
        changes: dict[str, Any] = {"deployment": deployment, "found": found, "in_a_row": row, "probed_at": now}
        if found is self.state:
            changes |= {"problem": problem}
        elif row > 1 and (found is self.found or is_well != was_well):
            changes |= {"state": found, "since": now, "problem": problem}
        return self.model_copy(update=changes)


class PreviousDeployment(Lenient):
    """The deployment before the present one, kept warm until `keep_until`."""

    champion: str
    project: str
    deployment: str
    model: str
    keep_until: AwareDatetime
    baseline: Baseline | None = None
    left: bool = Field(default=False, description="it lost its traffic in a rollback: none goes back to it by itself")

    def as_present(self) -> dict[str, Any]:
        """The fields of a record in which it is the one in production."""
        return {name: value for name, value in self if name not in ("keep_until", "left")}


class EndpointRecord(Lenient):
    """`champion` is the run in production; `deployment` and `model` are its names on the platform."""

    endpoint: str
    project: str
    champion: str
    deployment: str
    model: str
    scoring_uri: str
    promoted_at: AwareDatetime
    previous: PreviousDeployment | None = None
    stopped: Stopped | None = None
    restored_at: AwareDatetime | None = None
    baseline: Baseline | None = Field(default=None, description="null: promoted by an earlier version of the app")
    health: EndpointHealth | None = Field(default=None, description="null: not probed yet")

    def as_previous(self, keep_until: datetime, *, left: bool = False) -> PreviousDeployment:
        return PreviousDeployment.model_validate({**dict(self), "keep_until": keep_until, "left": left}, extra="ignore")


MAX_ENDED, MAX_MONTHS = 20, 24
PRICE_NOTE = "estimated by list prices (East US, read in 2026): it is not the bill"


class ServedDeployment(Lenient):
    """A deployment from before it was requested until it was seen to be gone."""

    deployment: str
    run: str
    instance_type: str
    instances: int
    max_instances: int | None = Field(default=None, description="to which it may scale; null: it does not")
    usd_per_hour: float | None = Field(description="of all its machines; null: no price is known")
    since: AwareDatetime
    until: AwareDatetime | None = None

    def usd_by_month(self, until: datetime) -> dict[str, float | None]:
        """USD by month of UTC, as `2026-11`."""
        found, at, until = dict[str, float | None](), self.since.astimezone(UTC), until.astimezone(UTC)
        while at < until:
            first = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            end = min(until, (first + timedelta(days=32)).replace(day=1))
            usd = self.usd_per_hour
            found[f"{at:%Y-%m}"] = None if usd is None else (end - at) / timedelta(hours=1) * usd
            at = end
        return found


class ServingCosts(Lenient):
    """What is deployed at an endpoint (in production, the one before, a candidate), and what was deployed there."""

    endpoint: str
    running: tuple[ServedDeployment, ...] = ()
    ended: tuple[ServedDeployment, ...] = Field(default=(), description=f"the newest {MAX_ENDED}")
    ended_usd: dict[str, float | None] = Field(
        default={}, description=f"of all that ended, by month, for {MAX_MONTHS} months; null: a price is not known"
    )

    def begun(self, *entries: ServedDeployment) -> Self:
        """With those deployments; the same again counts from its first time."""
        known = {one.deployment for one in self.running}
        more = (one for one in entries if one.deployment not in known)
        return self.model_copy(update={"running": (*self.running, *more)})

    def without(self, entry: ServedDeployment) -> Self:
        """Without what was never created."""
        return self.model_copy(update={"running": tuple(one for one in self.running if one != entry)})

    def left(self, deployments: Collection[str], now: datetime) -> Self:
        """With all but those deployments among what ended."""
        gone, months = [one for one in self.running if one.deployment not in deployments], dict(self.ended_usd)
        for one in gone:
            months |= {month: total([months.get(month, 0.0), usd]) for month, usd in one.usd_by_month(now).items()}
        closed = (one.model_copy(update={"until": max(now, one.since)}) for one in gone)
        ended, ended_usd = (*self.ended, *closed)[-MAX_ENDED:], dict(sorted(months.items())[-MAX_MONTHS:])
        running = tuple(one for one in self.running if one not in gone)
        return self.model_copy(update={"running": running, "ended": ended, "ended_usd": ended_usd})

    def scaled(self, instances: Mapping[str, int | None], now: datetime) -> Self:
        """A deployment that has another number of machines, where it is known, ends and begins now."""
        count = {
            one: n for one in self.running if (n := instances.get(one.deployment) or one.instances) != one.instances
        }
        usd = {
            one: None if one.usd_per_hour is None else one.usd_per_hour / one.instances * count[one] for one in count
        }
        left = self.left({one.deployment for one in self.running if one not in count}, now)
        new = ({"instances": count[one], "usd_per_hour": usd[one], "since": now} for one in count)
        return left.begun(*(one.model_copy(update=update) for one, update in zip(count, new, strict=True)))

    def usd_per_hour(self) -> float | None:
        """Of what runs; None if a price is not known."""
        return total([one.usd_per_hour for one in self.running])

    def usd_of_month(self, now: datetime) -> float | None:
        """Of the month of `now` in UTC, so far; None if a price is not known."""
        month = f"{now.astimezone(UTC):%Y-%m}"
        running = [one.usd_by_month(now).get(month, 0.0) for one in self.running]
        return total([self.ended_usd.get(month, 0.0), *running])


def total(parts: list[float | None]) -> float | None:
    """None if a part is not known: it is not 0."""
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def served(run: Run, now: datetime) -> ServedDeployment:
    """The deployment of that run, from now on."""
    size, requested = run.resolved.serving_instance_type, run.resolved.requested.deployment
    price = next((sku.price(spot=False) * requested.instances for sku in SKUS if sku.name == size), None)
    counts = {"instances": requested.instances, "max_instances": requested.max_instances, "usd_per_hour": price}
    name = paths.deployment_name(run.id)
    return ServedDeployment(deployment=name, run=run.id, instance_type=size, since=now, **counts)
