"""What is in production at an endpoint, and what its deployments cost by the list prices of the catalog."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Self

from pydantic import AwareDatetime, Field

from shared.domain import paths
from shared.domain.catalog import SKUS
from shared.domain.model import Lenient
from shared.domain.run import Run


class Stopped(Lenient):
    """The deployment was deleted and costs nothing; `droptune endpoints restore` deploys the model again."""

    deployment: str = Field(description="an earlier version of the app may have promoted another one since")
    at: AwareDatetime
    reason: str


class PreviousDeployment(Lenient):
    """The deployment before the present one, kept warm until `keep_until`."""

    champion: str
    project: str
    deployment: str
    model: str
    keep_until: AwareDatetime


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

    def as_previous(self, keep_until: datetime) -> PreviousDeployment:
        return PreviousDeployment.model_validate({**dict(self), "keep_until": keep_until}, extra="ignore")


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
