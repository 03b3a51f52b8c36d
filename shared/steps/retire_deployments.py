"""Delete deployments that are not needed any more: the previous one after its time, any other at once."""

from __future__ import annotations

from collections.abc import Iterator

from shared.domain.endpoint import EndpointRecord
from shared.domain.events import DeploymentRetired
from shared.ports import Services
from shared.records import claims, endpoints
from shared.step_support.outcome import Draft


def retire_deployments(record: EndpointRecord, services: Services) -> Iterator[Draft]:
    """Delete what the endpoint no longer needs; one event each, about the run in production.

    Nothing is touched while a rollout holds the endpoint. Azure refuses to delete what has traffic. Raises
    StoreConflict if the record was replaced since it was read.
    """
    view = services.models.get_endpoint(record.endpoint)
    # In this order: a rollout that begins after the endpoint was read is not among what was seen.
    if view is None or claims.read(services.store, claims.endpoint_claim(record.endpoint)) is not None:
        return
    kept = {record.deployment, *view.traffic}
    reason = "left over"
    if record.previous is not None and services.clock.now() < record.previous.keep_until:
        kept.add(record.previous.deployment)
    elif record.previous is not None:
        endpoints.write(services.store, record.model_copy(update={"previous": None}), replacing=record)
        reason = "kept long enough"
    for name in view.deployments:
        if name not in kept:
            services.models.begin_delete_deployment(record.endpoint, name)
            yield Draft(DeploymentRetired(endpoint=record.endpoint, deployment=name, reason=reason), key=name)
