"""Properties that have to be there, in the resource itself and as a literal: what would lose data, money or secrets."""

from __future__ import annotations

from typing import Any

from infra.gate.bicep import Expr, Infra
from infra.gate.finding import RULES, Violations, at

STORAGE = "Microsoft.Storage/storageAccounts"
BLOBS = f"{STORAGE}/blobServices"
SERVICE_BUS = "Microsoft.ServiceBus/namespaces"
SUBSCRIPTIONS = f"{SERVICE_BUS}/topics/subscriptions"
COSMOS = "Microsoft.DocumentDB/databaseAccounts"
VAULT = "Microsoft.KeyVault/vaults"
REGISTRY = "Microsoft.ContainerRegistry/registries"
WORKSPACE = "Microsoft.MachineLearningServices/workspaces"
CLUSTERS = f"{WORKSPACE}/computes"
SITE = "Microsoft.Web/sites"
PASSWORDS = f"{SITE}/basicPublishingCredentialsPolicies"
INSIGHTS = "Microsoft.Insights/components"
LOGS = "Microsoft.OperationalInsights/workspaces"

PRIVATE_ONLY = Expr("privateOnly ? 'Disabled' : 'Enabled'")
DENY_IF_PRIVATE = Expr("privateOnly ? 'Deny' : 'Allow'")
NOT_RELAXED = Expr("privateOnly ? 'AllowOnlyApprovedOutbound' : 'AllowInternetOutbound'")
MANAGED = Expr("MANAGED")  # stands for any value: the property must only be there

# rule -> (type, path below properties, value)
REQUIRED: dict[str, tuple[tuple[str, str, Any], ...]] = {
    "no-storage-keys": ((STORAGE, "allowSharedKeyAccess", False), (STORAGE, "defaultToOAuthAuthentication", True)),
    "no-public-blobs": ((STORAGE, "allowBlobPublicAccess", False), (f"{BLOBS}/containers", "publicAccess", "None")),
    "no-foreign-copies": ((STORAGE, "allowCrossTenantReplication", False),),
    "data-can-be-recovered": (
        (BLOBS, "isVersioningEnabled", True),
        (BLOBS, "deleteRetentionPolicy.enabled", True),
        (BLOBS, "containerDeleteRetentionPolicy.enabled", True),
    ),
    "no-service-bus-keys": ((SERVICE_BUS, "disableLocalAuth", True),),
    "expired-messages-are-kept": (
        (f"{SERVICE_BUS}/queues", "deadLetteringOnMessageExpiration", True),
        (SUBSCRIPTIONS, "deadLetteringOnMessageExpiration", True),
        (SUBSCRIPTIONS, "deadLetteringOnFilterEvaluationExceptions", True),
    ),
    "no-cosmos-keys": ((COSMOS, "disableLocalAuth", True), (COSMOS, "disableKeyBasedMetadataWriteAccess", True)),
    "runs-can-be-restored": ((COSMOS, "backupPolicy.type", "Continuous"),),
    "vault-is-kept": (
        (VAULT, "enableSoftDelete", True),
        (VAULT, "enablePurgeProtection", True),
        (VAULT, "enableRbacAuthorization", True),
    ),
    "no-registry-password": ((REGISTRY, "adminUserEnabled", False), (REGISTRY, "anonymousPullEnabled", False)),
    "no-datastore-keys": ((WORKSPACE, "systemDatastoresAuthMode", "Identity"),),
    "clusters-cost-nothing-idle": ((CLUSTERS, "properties.scaleSettings.minNodeCount", 0),),
    "clusters-are-closed": (
        (CLUSTERS, "disableLocalAuth", True),
        (CLUSTERS, "properties.enableNodePublicIp", False),
        (CLUSTERS, "properties.remoteLoginPortPublicAccess", "Disabled"),
    ),
    "no-telemetry-keys": ((INSIGHTS, "DisableLocalAuth", True), (LOGS, "features.disableLocalAuth", True)),
    "no-publishing-passwords": ((PASSWORDS, "allow", False), (SITE, "siteConfig.ftpsState", "Disabled")),
    "https-only": ((SITE, "httpsOnly", True), (STORAGE, "supportsHttpsTrafficOnly", True)),
    "tls-1.2": (
        (STORAGE, "minimumTlsVersion", "TLS1_2"),
        (SERVICE_BUS, "minimumTlsVersion", "1.2"),
        (COSMOS, "minimalTlsVersion", "Tls12"),
        (SITE, "siteConfig.minTlsVersion", "1.2"),
    ),
    "private-in-prod": (
        *((kind, "publicNetworkAccess", PRIVATE_ONLY) for kind in (STORAGE, SERVICE_BUS, COSMOS, VAULT, REGISTRY)),
        *((kind, "publicNetworkAccess", PRIVATE_ONLY) for kind in (WORKSPACE, SITE)),
        (STORAGE, "networkAcls.defaultAction", DENY_IF_PRIVATE),
        (VAULT, "networkAcls.defaultAction", DENY_IF_PRIVATE),
        (f"{SERVICE_BUS}/networkRuleSets", "defaultAction", "Deny"),
        (WORKSPACE, "managedNetwork.isolationMode", NOT_RELAXED),
    ),
    "events-under-an-identity": (
        ("Microsoft.EventGrid/systemTopics/eventSubscriptions", "deliveryWithResourceIdentity.identity", MANAGED),
        ("Microsoft.EventGrid/systemTopics/eventSubscriptions", "destination", None),
    ),
    "lost-events-are-kept": (
        (
            "Microsoft.EventGrid/systemTopics/eventSubscriptions",
            "deadLetterWithResourceIdentity.deadLetterDestination.properties.blobContainerName",
            "deadletters",
        ),
    ),
}


def _required(infra: Infra, expected: tuple[tuple[str, str, Any], ...]) -> Violations:
    for kind, path, value in expected:
        resources = infra.of_type(kind)
        if not resources:
            yield "infra", f"no {kind}"
        for resource in resources:
            found = resource.get(f"properties.{path}")
            if found is None if value is MANAGED else found != value:
                yield at(resource), f"{resource.symbol}.{path} must be {_shown(value)}, is {_shown(found)}"


def _shown(value: Any) -> str:
    if value is MANAGED:
        return "there"
    return value.text if isinstance(value, Expr) else "absent" if value is None else repr(value)


for _name, _expected in REQUIRED.items():
    RULES[_name] = lambda infra, expected=_expected: _required(infra, expected)
