"""The infrastructure and the code say the same: queues, settings, containers, containers' watchers, the app's roles."""

import yaml

from shared.domain import paths
from shared.health.doctor import ROLES
from shared.settings import Settings
from tests.gate.bicep import Expr, Infra, Resource, source
from tests.gate.finding import Violations, at, rule
from tests.gate.operations import rights_of
from tests.gate.topology import rendered

EVENT_SUBSCRIPTION = "Microsoft.EventGrid/systemTopics/eventSubscriptions"
DATASTORES = "Microsoft.MachineLearningServices/workspaces/datastores"
JOB_CONTAINERS = [paths.DATASETS, paths.CURATED, paths.RUNS, paths.MODELS]
CONTAINERS = [*JOB_CONTAINERS, "quarantine", "deadletters"]
# Read by the Functions host and its extensions; the prefix of the second three is functions.stages.CONNECTION.
HOST_SETTINGS = frozenset(
    {
        "AzureWebJobsStorage__accountName",
        "AzureWebJobsStorage__credential",
        "AzureWebJobsStorage__clientId",
        "ServiceBusConnection__fullyQualifiedNamespace",
        "ServiceBusConnection__credential",
        "ServiceBusConnection__clientId",
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
        "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    }
)
# What the scopes begin with that doctor speaks of, by its settings, and how it names a role that is not Azure's own.
SCOPES = {"RUN_STORE_URL": "cosmos", "EVENT_BUS_URL": "bus", "BLOB_STORE_URL": "data", "AZURE_ML_URL": "workspace"}
ROLE_NAMES = {
    "Cosmos DB Built-in Data Contributor": "SQL role Cosmos DB Built-in Data Contributor",
    "orchestrator": "role orchestrator of infra/modules/workspace.bicep",
}
# Azure itself sets the first; the second is of the emulator.
NOT_IN_THE_TEMPLATE = frozenset({"AZURE_ML_SECRET"})


@rule("topology-is-the-pipelines")
def topology_is_the_pipelines(infra: Infra) -> Violations:
    if (infra.folder / "topology.json").read_text() != rendered():
        yield "topology.json", "differs from shared/pipeline.toml; UPDATE_GOLDEN=1 make test rewrites it"
    if infra.files["modules/messaging.bicep"].variables.get("topology") != Expr("loadJsonContent('../topology.json')"):
        yield "modules/messaging.bicep", "topology must be topology.json"
    loops = {
        "Microsoft.ServiceBus/namespaces/queues": "topology.queues",
        "Microsoft.ServiceBus/namespaces/topics/subscriptions": "topology.subscriptions",
        "Microsoft.ServiceBus/namespaces/topics/subscriptions/rules": "topology.rules",
    }
    for kind, collection in loops.items():
        if [resource.loop for resource in infra.of_type(kind)] != [collection]:
            yield "modules/messaging.bicep", f"{kind} must be made once, for {collection}"


@rule("app-settings-are-the-codes")
def app_settings_are_the_codes(infra: Infra) -> Violations:
    expected = {name.upper() for name in Settings.model_fields} - NOT_IN_THE_TEMPLATE | HOST_SETTINGS
    for resource in infra.of_type("Microsoft.Web/sites/config"):
        if resource.body.get("name") == "appsettings":
            given = resource.body["properties"]
            for name in sorted(expected - given.keys()):
                yield at(resource), f"app setting {name} is missing"
            for name in sorted(given.keys() - expected):
                yield at(resource), f"app setting {name} is read by nothing"
            return
    yield "modules/app.bicep", "no appsettings"


@rule("containers-are-the-codes")
def containers_are_the_codes(infra: Infra) -> Violations:
    main = infra.files["main.bicep"]
    data = next((module for module in main.modules if module.symbol == "dataStorage"), None)
    if data is None or data.params.get("containers") != CONTAINERS:
        yield "main.bicep", f"the data account must have the containers {', '.join(CONTAINERS)}"
    for resource in infra.of_type(DATASTORES):
        if infra.files[resource.file].variables.get(resource.loop or "") != JOB_CONTAINERS:
            yield at(resource), f"datastores must be {', '.join(JOB_CONTAINERS)}"
        if resource.get("properties.credentials.credentialsType") != "None":
            yield at(resource), "a datastore must hold no credentials"


@rule("only-datasets-start-runs")
def only_datasets_start_runs(infra: Infra) -> Violations:
    """Jobs write thousands of blobs: unfiltered, each would wake the app, and its own output would start a run."""
    expected = f"/blobServices/default/containers/{paths.DATASETS}/"
    for subscription in _subscriptions(infra, "storage-events"):
        if subscription.get("properties.filter.subjectBeginsWith") != expected:
            yield at(subscription), f"filter must be {expected}"
        if subscription.get("properties.filter.includedEventTypes") != ["Microsoft.Storage.BlobCreated"]:
            yield at(subscription), "only Microsoft.Storage.BlobCreated"


@rule("events-reach-their-queues")
def events_reach_their_queues(infra: Infra) -> Violations:
    for queue in ("storage-events", "job-events"):
        found = _subscriptions(infra, queue)
        if len(found) != 1:
            yield "modules/events.bicep", f"{len(found)} event subscriptions deliver to {queue}"
        for subscription in found:
            if subscription.get("properties.eventDeliverySchema") != "CloudEventSchemaV1_0":
                yield at(subscription), "the app reads CloudEvents 1.0"


@rule("azd-finds-the-app")
def azd_finds_the_app(infra: Infra) -> Violations:
    services = yaml.safe_load((infra.folder.parent / "azure.yaml").read_text())["services"]
    tagged = {
        name
        for site in infra.of_type("Microsoft.Web/sites")
        for name in services
        if f"'azd-service-name': '{name}'" in source(site.body.get("tags"))
    }
    for name in sorted(services.keys() - tagged):
        yield "modules/app.bicep", f"no site is tagged as service {name}"


@rule("doctor-names-the-roles")
def doctor_names_the_roles(infra: Infra) -> Violations:
    """What a person is told to grant, where the app is refused, is what is granted here."""
    rights = {(right.role, *right.scope.split("/")) for right in rights_of(infra) if right.identity == "control"}
    for setting, service in SCOPES.items():
        places: dict[str, list[str]] = {}
        for role, first, *rest in sorted(rights):
            if first == service:
                places.setdefault(ROLE_NAMES.get(role, role), []).append(rest[0] if rest else first)
        given = "; ".join(f"{role} on {', '.join(names)}" for role, names in places.items())
        if ROLES[setting] != given:
            yield "shared/health/doctor.py", f"ROLES[{setting!r}] must be {given!r}"


def _subscriptions(infra: Infra, queue: str) -> list[Resource]:
    place = "properties.deliveryWithResourceIdentity.destination.properties.resourceId"
    return [s for s in infra.of_type(EVENT_SUBSCRIPTION) if source(s.get(place)).endswith(f"/queues/{queue}'")]
