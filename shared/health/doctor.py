"""Is everything there that a run will need? Looks without changing anything, and says what to do."""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import islice

import orjson

from shared.api.models import Check, CheckStatus
from shared.base_models import bundles
from shared.clients.azure_ml.connection import azure_ml_time
from shared.domain import paths
from shared.domain.catalog import SKUS, BaseModelEntry, every_entry, find_sku
from shared.domain.endpoint import ServingCosts
from shared.domain.errors import DroptuneError, InvalidInput, PermanentFailure, Transient, shortened
from shared.domain.jobs import CoreQuota, MachineSize
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe, Tier
from shared.pipeline import TOPOLOGY
from shared.ports import BlobStore, Config, JobLauncher, Services
from shared.records import serving_costs, subscriptions, ticks
from shared.records.unreadable import unreadable
from shared.rendering.bundle import read_bundle
from shared.services import build_now, services
from shared.settings import Settings, load_settings
from shared.steps.submit_training import endpoint_cores, free_cores

NAMED = 20
NO_JOB = "run-000000000000-doctor-1"
NO_ENDPOINT = "droptune-doctor"
# The API refuses a token issued in the future, and deadlines are compared across machines.
MAX_SKEW_S = 60.0

CORRECT_SETTING = "correct the setting in the app's configuration and restart the app"

# What infra/ gives the app's identity, by the setting that names the service. `make check` compares.
ROLES = {
    "RUN_STORE_URL": "SQL role Cosmos DB Built-in Data Contributor on droptune",
    "EVENT_BUS_URL": "Azure Service Bus Data Owner on deliveries, inbound, job-events, pipeline, storage-events",
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
    for name, check in (("documents", _set_aside), ("timers", _timers), ("subscriptions", _subscriptions)):
        yield from _guarded(name, map(check, [services]), lambda error: "")
    yield attempt("event bus", "EVENT_BUS_URL", lambda: _peek_all(services))
    blobs = attempt("blobs", "BLOB_STORE_URL", lambda: _list_blobs(services))
    yield blobs
    ml, answer = "AZURE_ML_URL", "the workspace exists and its metrics can be asked for"
    yield attempt("Azure ML jobs", ml, lambda: launcher.get_job(NO_JOB), "jobs can be asked for")
    yield attempt("Azure ML endpoints", ml, lambda: models.get_endpoint(NO_ENDPOINT), "endpoints can be asked for")
    # The only call that fails if the workspace itself is missing: for the others that is one 404 more.
    yield attempt("Azure ML workspace", ml, lambda: launcher.metric_history(NO_JOB, "train_loss"), answer)
    can_list = blobs.status is CheckStatus.OK  # else that is said already
    found = base_model_checks(services.blobs, settings.default_base_model)
    yield from _guarded("base models", found, lambda error: _remedy(error, "BLOB_STORE_URL") if can_list else "")
    for environment in (settings.training_environment, settings.serving_environment):
        name = f"environment {environment}"
        yield from _guarded(name, _environment(environment, name, services), lambda error: _remedy(error, ml))
    quotas = quota_checks(services.config, services.launcher, serving_costs.all_costs(store, []))
    grant = f"grant {QUOTA_ROLE}"
    yield from _guarded("quota", quotas, lambda error: grant if any(map(_denied, _causes(error))) else "")
    yield _clock(settings, services)


def _guarded(name: str, checks: Iterable[Check], fix: Callable[[Exception], str]) -> Iterator[Check]:
    """The checks. Where one fails, what `fix` says is to be done, or else that it was not read."""
    try:
        yield from checks
    except Exception as error:  # whatever fails is what the check reports
        message, remedy = _message_of(error), fix(error)
        yield Check.to_fix(name, message, remedy) if remedy else Check.skipped(name, f"not read: {message}")


def _set_aside(services: Services) -> Check:
    """Documents that every timer and list leaves out."""
    found = unreadable(services.store, services.clock.now())
    named = (f"{one.type} {one.id} of {one.partition}: {one.problem}" for one in found)
    fix = "run the version that wrote them, or `droptune dlq release PARTITION --id ID` repairs one or ends its run"
    return _none_of("documents", named, "every document in use can be read", fix)


def _timers(services: Services) -> Check:
    """What timers failed at within a day."""
    named = (
        f"{timer} at {at[:19]}: {count} failed, as {', '.join(f'{id} ({why})' for id, why in list(failed.items())[:3])}"
        for timer, at, count, failed in ticks.failures(services.store)
    )
    fix = "look into the log of that time; what is named is tried again at each tick and goes from here after a day"
    return _none_of("timers", named, "none failed at anything within a day", fix)


def _subscriptions(services: Services) -> Check:
    """Those that get nothing."""
    named = (
        f"{one.name} of {one.project or 'all projects'} since {one.disabled_at:%Y-%m-%d %H:%M}: {one.disabled.message}"
        for one in subscriptions.every(services.store)
        if one.disabled
    )
    fix = "correct the target, then `droptune subscriptions enable NAME` and `redeliver NAME`"
    return _none_of("subscriptions", named, "none is disabled", fix)


def _none_of(name: str, found: Iterable[str], nothing: str, fix: str) -> Check:
    """To fix if something was found, of which the first are named."""
    named = "; ".join(islice(found, NAMED))
    return Check.to_fix(name, shortened(named, 1000), fix) if named else Check.ok(name, nothing)


def attempt(name: str, setting: str, request: Callable[[], object], answer: str = "") -> Check:
    """`answer`, or the call's own words, if it succeeds, else what is wrong with the service behind the setting."""
    try:
        found = request()
        return Check.ok(name, answer or str(found))
    except Exception as error:  # as in `_guarded`
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


def _environment(environment: str, name: str, services: Services) -> Iterator[Check]:
    image = services.launcher.environment_image(environment)
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


# Has the subscription the cores that runs will ask for? One check for each machine size of the catalog.

# Of a project that says nothing: the machine is chosen by the base model, hardly by the rows.
ROWS, CHARACTERS = 1000, 4000


@dataclass(frozen=True, slots=True)
class Need:
    """Cores wanted at once, for one purpose. `whole`: of the quota, whatever is in use."""

    purpose: str
    cores: int
    tier: Tier = Tier.DEDICATED
    whole: bool = False


def quota_checks(config: Config, launcher: JobLauncher, costs: Iterable[ServingCosts] = ()) -> Iterator[Check]:
    """One check per size: the one of CPU jobs, then the catalog's. Raises as JobLauncher does.

    `costs`: what is deployed. An update is beside it, with as many machines as autoscale may make of it.
    """
    offered = {size.name.lower(): size for size in launcher.machine_sizes()}
    quotas = launcher.core_quotas()
    chosen = resolve(Recipe(base_model=config.default_base_model), "doctor", train_rows=ROWS, characters_max=CHARACTERS)
    training, serving = chosen.training_instance_type, chosen.serving_instance_type
    deployed = [(one.endpoint, latest) for one in costs for latest in one.running[-1:]]

    def needs(name: str, cores: int, *, every: bool) -> Iterator[Need]:
        """Of the defaults, or all that a recipe may ask of this size."""
        if name == config.cpu_instance_type:
            yield Need("a CPU job", cores)
        if every or name == training:
            yield Need("training", cores, chosen.requested.budget.tier)
        if every or name == serving:
            one = endpoint_cores(find_sku(name), cores)
            yield Need("an endpoint", one)
            yield Need("an update with the previous model kept", 3 * one, whole=True)
        for endpoint, latest in deployed:
            if latest.instance_type == name:
                most = latest.max_instances or latest.instances
                yield Need(f"an update of {endpoint}", endpoint_cores(find_sku(name), cores, most))

    names = [sku.name for sku in SKUS if sku.gpus or sku.name in (training, serving)]
    for name in dict.fromkeys([config.cpu_instance_type, *names]):
        size, is_default = offered.get(name.lower()), name in (config.cpu_instance_type, training, serving)
        required = is_default or any(latest.instance_type == name for _, latest in deployed)
        every = name in names and not required
        yield _check(name, size, list(needs(name, size.cores, every=every)) if size else [], quotas, required=required)


def _check(name: str, size: MachineSize | None, needs: list[Need], quotas: list[CoreQuota], *, required: bool) -> Check:
    title = f"quota {name}"
    if size is None:
        fix = "name another size in the recipe or the settings, or use another region" if required else ""
        status = CheckStatus.FIX if required else CheckStatus.SKIPPED
        return Check(name=title, status=status, detail="the region does not offer it", fix=fix)
    unused = [quota.model_copy(update={"used": 0}) for quota in quotas]

    def free(tier: Tier, whole: bool = False) -> float:
        return free_cores(size, unused if whole else quotas, spot=tier is Tier.SPOT, unlisted=0)

    counts = ((free(tier), tier) for tier in (Tier.DEDICATED, Tier.SPOT))
    found = ", ".join(f"{'any number' if math.isinf(count) else f'{count:.0f}'} {tier}" for count, tier in counts)
    detail = f"free {found}; " + ", ".join(f"{need.purpose} takes {need.cores} {need.tier}" for need in needs)
    short = [need for need in needs if need.cores > free(need.tier, need.whole)]
    if not short:
        return Check.ok(title, detail)
    if not required:
        return Check.skipped(title, f"{detail}; only a recipe that names it needs it")
    ask = ", ".join(f"{need.cores} {need.tier} cores for {need.purpose}" for need in short)
    return Check.to_fix(title, detail, f"ask for quota of {size.family}: {ask}")


# Are the catalog's base models where jobs will look for them, whole and of one template?


def base_model_checks(blobs: BlobStore, default: str) -> Iterator[Check]:
    """One or two checks per model of the catalog that may be tuned."""
    for entry in every_entry():
        if entry.asset is not None:
            folder = bundles.asset_folder(entry.asset)
            yield _weights(entry, folder, blobs, needed=entry.id == default)
            yield _imported(entry, folder, blobs, needed=entry.id == default)


def _weights(entry: BaseModelEntry, folder: str | None, blobs: BlobStore, *, needed: bool) -> Check:
    name = f"base model {entry.id}"
    if folder is None:
        return Check.skipped(name, f"not checked: a job mounts it from {entry.asset}")
    names = {info.path.removeprefix(folder) for info in blobs.list(folder)}
    if not names and not needed:
        return Check.skipped(name, f"nothing at {folder}; only a recipe that names the model needs it")
    missing = [part for part in (bundles.CONFIG, bundles.TOKENIZER) if part not in names]
    if not any(part.endswith(".safetensors") for part in names):
        missing.append("*.safetensors")
    if not _has_template(blobs, folder):
        missing.append("a chat template")
    if missing:
        detail = f"{folder} lacks {', '.join(missing)}"
        fix = f"copy the whole model folder to {folder}; on a laptop `make up` does it"
        return Check.to_fix(name, detail, fix)
    return Check.ok(name, f"whole at {folder}")


def _imported(entry: BaseModelEntry, folder: str | None, blobs: BlobStore, *, needed: bool) -> Check:
    """What the function reads of a model, against what the job reads where that can be seen."""
    name, fix = f"template {entry.id}", f"droptune base-models import {entry.id}"
    try:
        bundle = bundles.exported_bundle(entry, blobs)
    except PermanentFailure as error:
        return Check.to_fix(name, error.problem.message, fix)
    if bundle is None and needed:
        return Check.to_fix(name, f"no tokenizer bundle at {entry.tokenizer}: the model was not imported", fix)
    if bundle is None:
        detail = f"no tokenizer bundle at {entry.tokenizer}; only a recipe that names the model needs it"
        return Check.skipped(name, detail)
    if folder is None:
        return Check.ok(name, f"imported from {entry.asset}")
    try:
        own = read_bundle(lambda file: bundles.read_file(blobs, f"{folder}{file}"), entry.template_arguments)
    except PermanentFailure:
        return Check.skipped(name, "the base model is not here to compare with")
    if own.sha256 != bundle.sha256:
        detail = f"{bundle.sha256[:12]} in {entry.tokenizer}, {own.sha256[:12]} in {folder}"
        return Check.to_fix(name, f"tokenizer or chat template differ: {detail}", fix)
    return Check.ok(name, "tokenizer and chat template are the base model's")


def _has_template(blobs: BlobStore, folder: str) -> bool:
    """In a file of its own, or in the tokenizer's configuration."""
    config = bundles.read_file(blobs, f"{folder}{bundles.TOKENIZER_CONFIG}") or b"{}"
    return bool(bundles.read_file(blobs, f"{folder}{bundles.TEMPLATE}") or orjson.loads(config).get("chat_template"))
