"""Is everything there that a run will need? Looks without changing anything, and says what to do."""

import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from itertools import islice

from shared.clients.azure_ml.connection import azure_ml_time
from shared.domain import paths
from shared.domain.errors import DroptuneError, InvalidInput, PermanentFailure, Transient, shortened
from shared.health.base_models import base_model_checks
from shared.health.checks import Check, CheckStatus
from shared.health.quota import quota_checks
from shared.lazy import build_now
from shared.pipeline import TOPOLOGY
from shared.ports import Services
from shared.records import channels, serving_costs, ticks
from shared.records.unreadable import unreadable
from shared.services import services
from shared.settings import Settings, load_settings

NAMED = 20
NO_JOB = "run-000000000000-doctor-1"
NO_ENDPOINT = "droptune-doctor"
# The API refuses a token issued in the future, and deadlines are compared across machines.
MAX_SKEW_S = 60.0

CORRECT_SETTING = "correct the setting in the app's configuration and restart the app"

# What infra/ gives the app's identity, by the setting that names the service. `make check` compares.
ROLES = {
    "RUN_STORE_URL": "SQL role Cosmos DB Built-in Data Contributor on droptune",
    "EVENT_BUS_URL": "Azure Service Bus Data Owner on deliveries, job-events, pipeline, storage-events",
    "BLOB_STORE_URL": "Storage Blob Data Contributor on curated, datasets, quarantine, runs; "
    "Storage Blob Data Reader on models",
    "AZURE_ML_URL": "role orchestrator of infra/modules/workspace.bicep on workspace",
}
REGISTRY_SUFFIX = ".azurecr.io"
QUOTA_ROLE = "the app's identity the role of infra/modules/quota-access.bicep on the subscription"


def examine(build: Callable[[], Services] = services) -> list[Check]:
    """Every check, in the order a person would repair in. Never raises for what is wrong."""
    try:
        settings, built = load_settings(), build()
        for field in fields(built):
            build_now(getattr(built, field.name))
    except Exception as error:  # also what an embedded service says of a folder it cannot open
        return [Check.to_fix("settings", _message_of(error), CORRECT_SETTING)]
    return [Check.ok("settings", "every setting can be read"), *_run_check(settings, built)]


def _run_check(settings: Settings, services: Services) -> Iterator[Check]:
    store, launcher, models = services.store, services.launcher, services.models
    yield attempt("run store", "RUN_STORE_URL", lambda: store.get("doctor", "doctor"), "a point read is answered")
    for name, check in (("documents", _set_aside), ("timers", _timers), ("channels", _channels)):
        try:
            yield check(services)
        except Exception as error:  # as in `attempt`
            yield Check.skipped(name, f"not read: {_message_of(error)}")
    yield attempt("event bus", "EVENT_BUS_URL", lambda: _peek_all(services))
    blobs = attempt("blobs", "BLOB_STORE_URL", lambda: _list_blobs(services))
    yield blobs
    ml, answer = "AZURE_ML_URL", "the workspace exists and its metrics can be asked for"
    yield attempt("Azure ML jobs", ml, lambda: launcher.get_job(NO_JOB), "jobs can be asked for")
    yield attempt("Azure ML endpoints", ml, lambda: models.get_endpoint(NO_ENDPOINT), "endpoints can be asked for")
    # The only call that fails if the workspace itself is missing: for the others that is one 404 more.
    yield attempt("Azure ML workspace", ml, lambda: launcher.metric_history(NO_JOB, "train_loss"), answer)
    try:
        yield from base_model_checks(services.blobs, settings.default_base_model)
    except Exception as error:  # as in `attempt`; that nothing can be listed is said already
        fix = _remedy(error, "BLOB_STORE_URL") if blobs.status is CheckStatus.OK else ""
        status = CheckStatus.FIX if fix else CheckStatus.SKIPPED
        yield Check(name="base models", status=status, detail=_message_of(error), fix=fix)
    for environment in (settings.training_environment, settings.serving_environment):
        yield from _environment(environment, services)
    yield from _quotas(services)
    yield _clock(settings, services)


def _set_aside(services: Services) -> Check:
    """Documents that every timer and list leaves out."""
    found = list(islice(unreadable(services.store, services.clock.now()), NAMED))
    if not found:
        return Check.ok("documents", "every document in use can be read")
    named = "; ".join(f"{one.type} {one.id} of {one.partition}: {one.problem}" for one in found)
    fix = "run the version that wrote them, or `droptune dlq release PARTITION --id ID` repairs one or ends its run"
    return Check.to_fix("documents", shortened(named, 1000), fix)


def _timers(services: Services) -> Check:
    """What timers failed at within a day."""
    failures = list(ticks.failures(services.store))
    if not failures:
        return Check.ok("timers", "none failed at anything within a day")
    named = "; ".join(
        f"{timer} at {at[:19]}: {count} failed, as {', '.join(f'{id} ({why})' for id, why in list(failed.items())[:3])}"
        for timer, at, count, failed in failures
    )
    fix = "look into the log of that time; what is named is tried again at each tick and goes from here after a day"
    return Check.to_fix("timers", shortened(named, 1000), fix)


def _channels(services: Services) -> Check:
    found = list(islice(channels.refused(services.store), NAMED))
    if not found:
        return Check.ok("channels", "none refused an event for good within a week")
    fix = "correct the URL; one that answered 410 gets nothing for 7 days, under another URL at once"
    return Check.to_fix("channels", shortened("; ".join(found), 1000), fix)


def attempt(name: str, setting: str, request: Callable[[], object], answer: str = "") -> Check:
    """`answer`, or the call's own words, if it succeeds, else what is wrong with the service behind the setting."""
    try:
        found = request()
        return Check.ok(name, answer or str(found))
    except Exception as error:  # whatever fails is what the check reports
        return Check.to_fix(name, _message_of(error), _remedy(error, setting))


def _message_of(error: Exception) -> str:
    if isinstance(error, DroptuneError):
        return error.problem.message
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"


def _remedy(error: Exception, setting: str) -> str:
    causes = list(_causes(error))
    if any(map(_denied, causes)):
        return f"grant the app's identity {ROLES[setting]}; a new grant may take minutes to hold"
    if any(isinstance(cause, Transient) for cause in causes):
        return f"see that what {setting} names runs and can be reached from the app"
    return f"see that {setting} names the right service and that it is set up"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _denied(error: BaseException) -> bool:
    """401 or 403, however the SDK of the service says it."""
    if getattr(error, "status_code", None) in (401, 403) or re.search("Authenti|Authori", type(error).__name__):
        return True
    if isinstance(error, DroptuneError):
        return error.problem.code.endswith("access_denied") or error.problem.message[:4] in ("401 ", "403 ")
    return False


def _peek_all(services: Services) -> str:
    """Stops where nothing answers; continues where an entity is missing, so that all are named at once."""
    entities, wrong = TOPOLOGY.entities(), {}
    for entity in entities:
        try:
            services.bus.peek(entity, limit=1)
        except (InvalidInput, PermanentFailure) as error:
            wrong[entity] = error
    if wrong:
        first = next(iter(wrong.values()))
        raise InvalidInput("entities_unreadable", f"{', '.join(wrong)}: {first.problem.message}") from first
    return f"all {len(entities)} queues and subscriptions can be peeked at"


def _list_blobs(services: Services) -> str:
    containers = (paths.DATASETS, paths.CURATED, paths.RUNS, paths.MODELS)
    for container in containers:
        next(iter(services.blobs.list(f"{container}/")), None)
    return f"{', '.join(containers)} can be listed"


def _environment(environment: str, services: Services) -> Iterator[Check]:
    name = f"environment {environment}"
    try:
        image = services.launcher.environment_image(environment)
    except Exception as error:  # as in `attempt`
        yield Check.to_fix(name, _message_of(error), _remedy(error, "AZURE_ML_URL"))
        return
    if image is None:
        fix = "register it: `azd provision` does, unless the setting names a version that is not this release's"
        yield Check.to_fix(name, "is not registered in the workspace", fix)
        return
    yield Check.ok(name, "is registered in the workspace")
    yield Check.skipped(f"image of {environment}", f"not looked for: {_unseen(image)}")


def _unseen(image: str) -> str:
    """Why: registering an environment does not look for its image, and the app has no role on the registry."""
    registry, dot, path = image.partition(REGISTRY_SUFFIX + "/")
    if not image:
        return "it is built by Azure ML at its first job"
    if not dot:
        return f"{image} names no Azure container registry"
    return f"the app may not read the registry; `az acr repository show --name {registry} --image {path}` says"


def _quotas(services: Services) -> list[Check]:
    try:
        return list(quota_checks(services.config, services.launcher, serving_costs.all_costs(services.store, [])))
    except Exception as error:  # as in `attempt`
        if any(map(_denied, _causes(error))):
            return [Check.to_fix("quota", _message_of(error), f"grant {QUOTA_ROLE}")]
        return [Check.skipped("quota", f"not read: {_message_of(error)}")]


def _clock(settings: Settings, services: Services) -> Check:
    """Against the only service that answers without a token of its own."""
    try:
        there = azure_ml_time(settings.azure_ml_url)
    except Transient as error:
        return Check.skipped("clock", f"not checked: {error.problem.message}")
    if there is None:
        return Check.skipped("clock", "not checked: the service tells no time")
    skew_s = (services.clock.now() - there).total_seconds()
    if abs(skew_s) <= MAX_SKEW_S:
        return Check.ok("clock", f"within {MAX_SKEW_S:.0f} s of Azure ML's")
    detail = f"{abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} Azure ML's"
    return Check.to_fix("clock", detail, "let the app's machine keep time by NTP")
