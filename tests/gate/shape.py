"""How the whole is put together: money, alarms, tags, logs, and which parts a shape may leave out."""

from tests.gate.bicep import Expr, Infra, source
from tests.gate.finding import Violations, at, rule

# Left out of the dev shape. Nothing else may be conditional: checkov and this gate check what is there.
ONLY_IN_PROD = frozenset({"network", "messagingFirewall", "workspaceOutbound", "privateEndpoints"})
# Still a preview at Microsoft, in use everywhere: there is no stable version with `categoryGroup`.
PREVIEWS = frozenset({"Microsoft.Insights/diagnosticSettings"})
WATCHED = (
    "Microsoft.ServiceBus/namespaces",
    "Microsoft.DocumentDB/databaseAccounts",
    "Microsoft.KeyVault/vaults",
    "Microsoft.ContainerRegistry/registries",
    "Microsoft.MachineLearningServices/workspaces",
    "Microsoft.Storage/storageAccounts/blobServices",
    "Microsoft.Web/sites",
)
METRICS = {"DeadletteredMessages", "DeadLetteredCount"}
# The only paths below /api that need no sign-in: a version, and which of four services answer; nothing else.
WITHOUT_SIGN_IN = ("/api/health", "/api/ready")


@rule("nothing-secure-is-conditional")
def nothing_secure_is_conditional(infra: Infra) -> Violations:
    for resource in infra.resources:
        if resource.condition is not None:
            yield at(resource), f"{resource.symbol} has an `if`: make it a module or leave it out"
    for file in infra.files.values():
        for module in file.modules:
            expected = "privateOnly" if module.symbol in ONLY_IN_PROD else None
            if module.condition != expected:
                yield f"{file.name}:{module.line}", f"module {module.symbol} must have the condition {expected}"


@rule("events-come-after-their-rights")
def events_come_after_their_rights(infra: Infra) -> Violations:
    """Event Grid refuses a subscription whose identity may not deliver; no output of the rights says when they hold."""
    for module in infra.files["main.bicep"].modules:
        if module.symbol == "events" and "dataAccess" not in module.depends_on:
            yield f"main.bicep:{module.line}", "events must depend on dataAccess"


@rule("cosmos-is-serverless")
def cosmos_is_serverless(infra: Infra) -> Violations:
    """Else it is billed by the hour, and what the documentation says of the cost is wrong."""
    for resource in infra.of_type("Microsoft.DocumentDB/databaseAccounts"):
        if {"name": "EnableServerless"} not in (resource.get("properties.capabilities") or []):
            yield at(resource), f"{resource.symbol} must have the capability EnableServerless"


@rule("private-endpoint-for-each")
def private_endpoint_for_each(infra: Infra) -> Violations:
    """A module that closes its door in prod needs another one."""
    main = infra.files["main.bicep"]
    endpoints = next((m.params.get("endpoints") for m in main.modules if m.symbol == "privateEndpoints"), None)
    reached = {endpoint["serviceId"].text for endpoint in endpoints or [] if isinstance(endpoint, dict)}
    for module in main.modules:
        if "privateOnly" in module.params and f"{module.symbol}.outputs.id" not in reached:
            yield f"main.bicep:{module.line}", f"{module.symbol} has no private endpoint"


@rule("tagged")
def tagged(infra: Infra) -> Violations:
    for resource in infra.resources:
        tags = resource.body.get("tags")
        if "location" in resource.body and not (isinstance(tags, Expr) and "tags" in tags.text):
            yield at(resource), f"{resource.symbol} has no tags: its project and cost cannot be told"


@rule("budget")
def budget(infra: Infra) -> Violations:
    budgets = infra.of_type("Microsoft.Consumption/budgets")
    if not budgets:
        yield "infra", "no budget"
    for resource in budgets:
        notices = (resource.get("properties.notifications") or {}).values()
        enabled = [n for n in notices if n.get("enabled") is True and n.get("contactEmails")]
        if not any(n["thresholdType"] == "Actual" and n["threshold"] <= 100 for n in enabled):
            yield at(resource), "no notification is sent before the budget is spent"
        if not any(n["thresholdType"] == "Forecasted" for n in enabled):
            yield at(resource), "no notification is sent about a forecast"


@rule("alarms")
def alarms(infra: Infra) -> Violations:
    alerts = infra.of_type("Microsoft.Insights/metricAlerts")
    watched = {
        criterion["metricName"]
        for alert in alerts
        if alert.get("properties.enabled") is True and alert.get("properties.actions")
        for criterion in alert.get("properties/criteria/allOf") or []
    }
    for metric in sorted(METRICS - watched):
        yield "modules/alerts.bicep", f"no alert on {metric}"
    for kind in ("Microsoft.Insights/scheduledQueryRules", "Microsoft.Insights/activityLogAlerts"):
        if not [alert for alert in infra.of_type(kind) if alert.get("properties.enabled") is True]:
            yield "modules/alerts.bicep", f"no {kind}"


@rule("logged")
def logged(infra: Infra) -> Violations:
    for file in infra.files.values():
        logs = [r for r in file.resources if r.type == "Microsoft.Insights/diagnosticSettings"]
        scopes = {source(r.body.get("scope")) for r in logs if r.get("properties.workspaceId") == Expr("logsId")}
        for resource in file.resources:
            if resource.type in WATCHED and not resource.existing and resource.symbol not in scopes:
                yield at(resource), f"{resource.symbol} sends no logs"


@rule("stable-versions")
def stable_versions(infra: Infra) -> Violations:
    for resource in infra.resources:
        if resource.version.endswith("-preview") and resource.type not in PREVIEWS:
            yield at(resource), f"{resource.type}@{resource.version} is a preview"


@rule("callers-are-known")
def callers_are_known(infra: Infra) -> Violations:
    """The app checks tokens itself; this is the second lock."""
    found = [r for r in infra.of_type("Microsoft.Web/sites/config") if r.body.get("name") == "authsettingsV2"]
    if not found:
        yield "modules/app.bicep", "no authsettingsV2"
    for resource in found:
        checks = resource.get("properties.globalValidation") or {}
        if checks.get("requireAuthentication") is not True or checks.get("unauthenticatedClientAction") != "Return401":
            yield at(resource), "unauthenticated callers must get 401"
        below = {path for path in checks.get("excludedPaths", []) if path.startswith(("/api/", "/v1"))}
        if below - set(WITHOUT_SIGN_IN):
            yield at(resource), "no path with data may be excluded"
