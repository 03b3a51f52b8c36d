"""Delete deployments that are not needed any more: the previous one after its time, an idle one, any other at once."""

from collections.abc import Callable
from datetime import timedelta

from shared.domain import paths
from shared.domain.endpoint import EndpointRecord, ServedDeployment, ServingCosts, Stopped, served
from shared.domain.errors import Transient
from shared.domain.events import DeploymentRetired, EndpointChanged
from shared.domain.jobs import EndpointView
from shared.domain.run import Run
from shared.ports import Services
from shared.records import claims, endpoints, policies, runs, serving_costs
from shared.step_support.loops import for_each
from shared.step_support.outcome import Draft
from shared.step_support.policy import endpoint_owner

Publish = Callable[[Draft], object]


def retire_deployments(record: EndpointRecord, view: EndpointView | None, services: Services, publish: Publish) -> None:
    """Delete what the endpoint no longer needs and publish each, about the run in production.

    Nothing is touched while a rollout holds the endpoint, nor what is named after no run: somebody made it. Azure
    refuses to delete what has traffic. Raises StoreConflict if the record was replaced since it was read, Transient
    `not_retired` if a deletion failed.
    """
    # After the view: a rollout that begins after the endpoint was read is not among what was seen.
    if view is None or claims.read(services.store, claims.endpoint_claim(record.endpoint)) is not None:
        return
    kept = {*view.traffic} if record.stopped else {record.deployment, *view.traffic}
    reason = "left over"
    if record.previous is not None and services.clock.now() < record.previous.keep_until:
        kept.add(record.previous.deployment)
    elif record.previous is not None:
        endpoints.write(services.store, record.model_copy(update={"previous": None}), replacing=record)
        reason = "kept long enough"

    def retire(name: str) -> None:
        services.models.begin_delete_deployment(record.endpoint, name)
        publish(Draft(DeploymentRetired(endpoint=record.endpoint, deployment=name, reason=reason), key=name))

    surplus = (name for name in view.deployments if name not in kept and name.startswith(paths.deployment_name("")))
    retired = for_each(f"deployments of {record.endpoint}", surplus, retire)
    if retired.failed:
        raise Transient("not_retired", "; ".join(retired.failed.values()), record.endpoint)


def stop_idle(
    record: EndpointRecord, view: EndpointView | None, champion: Run, services: Services, publish: Publish
) -> None:
    """Take the traffic of an idle deployment away, and in a later tick, once that is seen, delete it. One that somebody
    deleted, or whose endpoint is gone, is recorded as stopped, so that it can be restored.

    The endpoint is held under a name of its own meanwhile, so that a tick that died is continued. Left alone: a
    deployment younger than its idle hours, or whose requests are not known; an endpoint with a previous deployment, a
    rollout, a candidate or an awaited decision. Raises StoreConflict if the record was replaced.
    """
    store, now, endpoint, models = services.store, services.clock.now(), record.endpoint, services.models
    own = champion.recipe.requested.deployment.idle_hours if champion.recipe else None  # lost in a repair
    if endpoint_owner(endpoint, policies.read(store).policy, store) != record.project:
        own = None  # its recipe does not say what happens to an endpoint of others
    limits = [timedelta(hours=hours) for hours in (own, services.config.endpoint_idle_hours) if hours]
    claim, owner, everything = claims.endpoint_claim(endpoint), f"idle-{endpoint}", {record.deployment: 100}
    serves_since = max(record.promoted_at, record.restored_at or record.promoted_at)
    held = claims.read(store, claim)
    if record.previous or (held and held.owner != owner):
        return
    if record.stopped:  # a tick died before this
        claims.release(store, claim, owner)
        return
    may_stop = bool(limits) and now - serves_since >= min(limits)
    traffic, is_there = (view.traffic, record.deployment in view.deployments) if view else ({}, False)
    if traffic not in ({}, everything) or (is_there and not may_stop and not held):
        return
    requests: bool | None = is_there  # also where the limit was raised while the traffic was being taken away
    if is_there and may_stop:
        requests = models.had_requests(endpoint, record.deployment, now - min(limits), now)
    if requests is not False or (is_there and endpoints.has_candidate(store, endpoint)):
        if held and not traffic:  # a request came in the last minute
            models.begin_traffic(endpoint, everything)
        elif held:
            claims.release(store, claim, owner)
        return
    if claims.take(store, claim, owner, now) != owner:
        return
    if endpoints.read(store, endpoint) != record:  # a rollout was faster
        claims.release(store, claim, owner)
    elif traffic and is_there:
        models.begin_traffic(endpoint, {})
    else:
        models.begin_delete_deployment(endpoint, record.deployment)
        reason = f"no request for {min(limits)}" if limits and (is_there or held) else "its deployment is gone"
        changed = EndpointChanged(endpoint=endpoint, state="stopped", by="idle", comment=reason)
        publish(Draft(changed, key=record.deployment))
        stopped = Stopped(deployment=record.deployment, at=now, reason=reason)
        endpoints.write(store, record.model_copy(update={"stopped": stopped}), replacing=record)
        claims.release(store, claim, owner)


def count_costs(endpoint: str, services: Services) -> None:
    """End entries of what is gone, and its autoscale; begin missing ones; count machines. Raises as `change` does."""

    def seen(costs: ServingCosts) -> ServingCosts | None:
        # In this order: who is about to create a deployment took the claim, then wrote its entry, which is a conflict.
        models, held = services.models, claims.read(services.store, claims.endpoint_claim(endpoint))
        view = models.get_endpoint(endpoint)
        there, now = set(view.deployments) if view else set(), services.clock.now()
        is_ordered = held is not None and not held.owner.startswith("run-")  # orders hold it under their own names
        may_come = {one.deployment for one in costs.running if held and (is_ordered or held.owner == one.run)}

        def missing(name: str) -> ServedDeployment | None:
            run = runs.load(services.store, f"run-{name.removeprefix('d-')}")
            return served(run, now) if run and run.recipe else None

        strange = sorted(there - {one.deployment for one in costs.running})
        found = for_each(f"deployments of {endpoint} without costs", strange, missing)
        gone = (one.deployment for one in costs.running if one.max_instances and one.deployment not in there | may_come)
        ends = for_each(f"autoscale of {endpoint}", gone, lambda name: models.delete_autoscale(endpoint, name))
        views = for_each(f"machines of {endpoint}", sorted(there), lambda d: models.get_deployment(endpoint, d)).results
        after = costs.left({*there, *may_come, *ends.failed}, now).begun(*filter(None, found.results.values()))
        after = after.scaled({name: view.instances for name, view in views.items() if view}, now)
        return after if after != costs else None

    serving_costs.change(services.store, endpoint, seen)
