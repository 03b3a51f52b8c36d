"""Delete deployments that are not needed any more: the previous one after its time, any other at once."""

from collections.abc import Callable

from shared.domain.endpoint import EndpointRecord
from shared.domain.errors import Transient
from shared.domain.events import DeploymentRetired
from shared.ports import Services
from shared.records import claims, endpoints
from shared.step_support.loops import for_each
from shared.step_support.outcome import Draft


def retire_deployments(record: EndpointRecord, services: Services, publish: Callable[[Draft], object]) -> None:
    """Delete what the endpoint no longer needs and publish each, about the run in production.

    Nothing is touched while a rollout holds the endpoint. Azure refuses to delete what has traffic. Raises
    StoreConflict if the record was replaced since it was read, Transient `not_retired` if a deletion failed.
    """
    now = services.clock.now()
    record = endpoints.as_of(services.store, record, now)
    view = services.models.get_endpoint(record.endpoint)
    # In this order: a rollout that begins after the endpoint was read is not among what was seen.
    if view is None or claims.read(services.store, claims.endpoint_claim(record.endpoint)) is not None:
        return
    kept = {record.deployment, *view.traffic}
    reason = "left over"
    if record.previous is not None and now < record.previous.keep_until:
        kept.add(record.previous.deployment)
    elif record.previous is not None:
        endpoints.write(services.store, record.model_copy(update={"previous": None}), replacing=record)
        reason = "kept long enough"

    def retire(name: str) -> None:
        services.models.begin_delete_deployment(record.endpoint, name)
        publish(Draft(DeploymentRetired(endpoint=record.endpoint, deployment=name, reason=reason), key=name))

    retired = for_each(f"deployments of {record.endpoint}", (n for n in view.deployments if n not in kept), retire)
    if retired.failed:
        raise Transient("not_retired", "; ".join(retired.failed.values()), record.endpoint)
