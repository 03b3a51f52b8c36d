"""Register the merged model and create its deployment with no traffic."""

from dataclasses import replace

from shared.domain import catalog as catalog
from shared.domain import paths
from shared.domain.endpoint import served
from shared.domain.errors import FailureClass, PermanentFailure, Transient
from shared.domain.events import DeploymentRetryDue, DeploymentStarted, EvaluationPassed, Event
from shared.domain.jobs import DeploymentSpec, ModelSpec
from shared.domain.planning.methods import served_tokens
from shared.domain.policy import AppliedPolicy
from shared.domain.run import RolloutRef, Run, Status
from shared.ports import Config, Services
from shared.records import claims, endpoints, serving_costs
from shared.step_support.candidate import approvals_missing, require_same_model
from shared.step_support.outcome import Draft, Outcome
from shared.step_support.policy import require_allowed
from shared.steps.submit_evaluation import evaluate_in_turn
from shared.steps.submit_training import job_tags, require_room


def model_spec(run: Run) -> ModelSpec:
    """The registered model of a run: its merged folder, named after the project, versioned by the run."""
    return ModelSpec(
        name=run.project,
        version=paths.model_version(run),
        uri=paths.datastore_uri(paths.run(run.id, "model/merged")),
        tags=job_tags(run),
    )


def deployment_spec(run: Run, config: Config) -> DeploymentSpec:
    model = model_spec(run)
    resolved, base = run.resolved, run.resolved.entry
    gpus, requested = catalog.find_sku(resolved.serving_instance_type).gpus, resolved.requested.deployment
    tokens = served_tokens(resolved.requested, resolved.hyperparameters.max_length_tokens, base)
    variables = {
        "SERVED_MODEL_NAME": run.project,
        "MAX_MODEL_LEN": str(tokens),
        "TENSOR_PARALLEL_SIZE": str(gpus) if gpus > 1 else None,
        "TOOL_CALL_PARSER": base.tool_parser,
    }
    return DeploymentSpec(
        endpoint=run.resolved.endpoint,
        name=paths.deployment_name(run.id),
        model=f"{model.name}:{model.version}",
        weights_bytes=base.parameters * 2,
        environment=config.serving_environment,
        instance_type=run.resolved.serving_instance_type,
        instance_count=requested.instances,
        max_instances=requested.max_instances,
        scale_out_above=requested.scale_out_above,
        environment_variables={name: value for name, value in variables.items() if value is not None},
        tags=job_tags(run),
    )


def deploy_model(event: Event[EvaluationPassed | DeploymentRetryDue], run: Run, services: Services) -> Outcome:
    endpoint, model, spec = run.resolved.endpoint, model_spec(run), deployment_spec(run, services.config)
    view = services.models.get_endpoint(endpoint)
    if view is None or spec.name not in view.deployments:  # else its cores are in use already
        require_room(run, services, view, trained=True)
    owner = claims.take(services.store, claims.endpoint_claim(endpoint), run.id, services.clock.now())
    if owner != run.id:
        raise Transient("endpoint_busy", f"{owner} holds {endpoint}", endpoint)
    try:  # as long as it holds the endpoint's claim, nobody else becomes its owner
        applied = require_still_right(run, services)
    except PermanentFailure:
        claims.release(services.store, claims.endpoint_claim(endpoint), run.id)
        raise
    record = endpoints.read(services.store, endpoint)
    champion = record.champion if record else None
    if champion != run.champion:
        # The verdict was about another champion. The endpoint is free for others while this one is measured.
        claims.release(services.store, claims.endpoint_claim(endpoint), run.id)
        outcome = evaluate_in_turn(event, run, services)
        outcome = outcome.with_changes(decision=None, approvals=())  # they were about other numbers
        since = f"{champion} went into production meanwhile"
        return replace(outcome, note=f"{since}; {outcome.note}" if outcome.note else since)
    services.models.register_model(model)
    view = services.models.get_endpoint(endpoint)
    # Also of one that is there: Azure refuses a deployment while its endpoint changes, or failed to.
    if not services.models.begin_endpoint(endpoint, {"project": run.project}):
        raise Transient("endpoint_provisioning", f"{endpoint} is being created or changed", endpoint)
    begin_deployment(spec, run, services)
    previous = {} if view is None else {k: v for k, v in view.traffic.items() if k != spec.name}
    return Outcome(
        status=Status.DEPLOYING,
        changes={
            "rollout": RolloutRef(
                endpoint=endpoint, deployment=spec.name, model=spec.model, previous=previous, traffic=previous, step=0
            ),
            "policy": applied.in_force(run.project),
        },
        events=(Draft(DeploymentStarted(endpoint=endpoint, deployment=spec.name, model=spec.model)),),
        undo=lambda now: _delete_unless_owned(spec, now, services),
    )


def require_still_right(run: Run, services: Services) -> AppliedPolicy:
    """The policy in force, under which its model may get traffic. Raises PermanentFailure of `require_allowed`,
    `require_same_model`, and `not_approved`."""
    applied = require_allowed(run, services)
    require_same_model(run, services.blobs)
    needs_approval = run.approvals or run.resolved.requested.deployment.approval == "required"
    if needs_approval and approvals_missing(run, applied.policy):
        message = f"by version {applied.version} of the policy more persons must approve: `droptune retry` the run"
        raise PermanentFailure(FailureClass.RECIPE, "not_approved", message, "deployment.approval")
    return applied


def begin_deployment(spec: DeploymentSpec, run: Run, services: Services) -> None:
    """Begin it. It counts as running from before that, so that a crash never hides what it costs."""
    entry = served(run, services.clock.now())
    serving_costs.change(services.store, spec.endpoint, lambda costs: costs.begun(entry))
    try:
        services.models.begin_deployment(spec)
    except PermanentFailure:
        serving_costs.change(services.store, spec.endpoint, lambda costs: costs.without(entry))
        raise


def set_autoscale(run: Run, services: Services) -> None:
    """Before a deployment gets traffic. It goes when the costs of the deployment are closed (`count_costs`)."""
    if run.resolved.requested.deployment.max_instances:
        services.models.set_autoscale(deployment_spec(run, services.config))


def _delete_unless_owned(spec: DeploymentSpec, run: Run, services: Services) -> None:
    """No later step would find a deployment that no run document names."""
    if run.rollout is None or run.rollout.deployment != spec.name:
        services.models.begin_delete_deployment(spec.endpoint, spec.name)
