"""`python -m tests.published_types FOLDER` writes `local_stack/azure_ml/published.json`: the definitions of what infra/
declares and of what the Azure ML client calls, from the models of Microsoft's packages, as JSON Schema.

FOLDER has the packages of `SOURCES`: `pip download --no-deps --dest FOLDER NAME==VERSION ...`. Their models are
generated from Microsoft's OpenAPI definitions, in one of two forms: `_attribute_map` (msrest) and `rest_field`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from email import message_from_bytes
from enum import Enum
from importlib import import_module
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from zipfile import ZipFile

from local_stack.azure_ml.published import FILE, Schema
from tests.gate import bicep
from tests.paths import ROOT


@dataclass(frozen=True)
class Source:
    """Models of one version of an API, in the module `models` below the package's `root`."""

    package: str
    version: str
    root: str
    models: str
    classes: Mapping[str, str | Mapping[str, str]]
    """By type; for one whose definition depends on its name, by name."""
    used_for: str = ""
    """The version that infra/ declares, where no package has that one."""

    @property
    def resources(self) -> dict[str, str | Mapping[str, str]]:
        return {f"{kind}@{self.used_for or self.version}": one for kind, one in self.classes.items()}


def _source(package: str, version: str, provider: str, classes: Mapping[str, Any], **more: str) -> Source:
    named = {f"Microsoft.{provider}/{kind}": one for kind, one in classes.items()}
    root = "azure/" + package.partition("==")[0].removeprefix("azure-").replace("-", "/")
    return Source(package, version, **{"root": root, "models": "models"} | more, classes=named)


def _azure_ml(version: str, *names: str) -> Source:
    """A version that the app or azure-ai-ml 1.35.2 asks for; the emulator refuses any other."""
    kinds = {_AZURE_ML[name.removesuffix("Data")]: name for name in names}
    models = f"v{version.replace('-', '_')}.models"
    return _source(_ML_PACKAGE, version, _ML, kinds, root=_ML_ROOT, models=models)


# The last release that has every version; later ones send them with models of 2025-12-01.
_ML_PACKAGE, _ML_ROOT, _ML = "azure-ai-ml==1.33.0", "azure/ai/ml/_restclient", "MachineLearningServices"
_AZURE_ML = {
    "Workspace": "workspaces",
    "EnvironmentVersion": "workspaces/environments/versions",
    "JobBase": "workspaces/jobs",
    "ModelVersion": "workspaces/models/versions",
    "OnlineEndpoint": "workspaces/onlineEndpoints",
    "OnlineDeployment": "workspaces/onlineEndpoints/deployments",
}
_ML_SOURCES = (
    _azure_ml("2022-02-01-preview", "OnlineEndpointData", "OnlineDeploymentData"),
    _azure_ml("2023-04-01-preview", "EnvironmentVersion", "OnlineEndpoint", "OnlineDeployment"),
    _azure_ml("2023-08-01-preview", "ModelVersion"),
    _azure_ml("2024-01-01-preview", "JobBase"),
    _azure_ml("2024-10-01-preview", "Workspace"),
    _azure_ml("2025-01-01-preview", "JobBase"),
)
AUTOSCALE = "Microsoft.Insights/autoscaleSettings@2022-10-01"
AZURE_ML = [*(resource for source in _ML_SOURCES for resource in source.resources), AUTOSCALE]
SOURCES = (
    *_ML_SOURCES,
    _source(
        _ML_PACKAGE,
        "2025-12-01",
        _ML,
        {
            "workspaces": "Workspace",
            "workspaces/computes": "ComputeResource",
            "workspaces/datastores": "Datastore",
            "workspaces/outboundRules": "OutboundRuleBasicResource",
        },
        root=_ML_ROOT,
        models="arm_ml_service.models",
        used_for="2025-06-01",
    ),
    _source(
        "azure-mgmt-applicationinsights==5.0.0b2",
        "2020-02-02",
        "Insights",
        {"components": "ApplicationInsightsComponent"},
    ),
    _source(
        "azure-mgmt-authorization==4.0.0",
        "2022-04-01",
        "Authorization",
        {"roleAssignments": "RoleAssignmentCreateParameters", "roleDefinitions": "RoleDefinition"},
        models="v2022_04_01.models",
    ),
    _source("azure-mgmt-consumption==11.0.0", "2024-08-01", "Consumption", {"budgets": "Budget"}),
    _source(
        "azure-mgmt-containerregistry==14.0.0",
        "2025-04-01",
        "ContainerRegistry",
        {"registries": "Registry"},
        models="v2025_04_01.models",
    ),
    _source(
        "azure-mgmt-cosmosdb==9.8.0",
        "2025-04-15",
        "DocumentDB",
        {
            "databaseAccounts": "DatabaseAccountCreateUpdateParameters",
            "databaseAccounts/sqlDatabases": "SqlDatabaseCreateUpdateParameters",
            "databaseAccounts/sqlDatabases/containers": "SqlContainerCreateUpdateParameters",
            "databaseAccounts/sqlRoleAssignments": "SqlRoleAssignmentCreateUpdateParameters",
        },
    ),
    _source(
        "azure-mgmt-eventgrid==10.4.0",
        "2025-02-15",
        "EventGrid",
        {"systemTopics": "SystemTopic", "systemTopics/eventSubscriptions": "EventSubscription"},
    ),
    _source("azure-mgmt-keyvault==12.0.0", "2024-11-01", "KeyVault", {"vaults": "VaultCreateOrUpdateParameters"}),
    _source(
        "azure-mgmt-loganalytics==13.0.0b7",
        "2022-10-01",
        "OperationalInsights",
        {"workspaces": "Workspace"},
        used_for="2023-09-01",
    ),
    *(
        _source("azure-mgmt-monitor==6.0.2", version, "Insights", one, models=f"v{version.replace('-', '_')}.models")
        for version, one in {
            "2018-03-01": {"metricAlerts": "MetricAlertResource"},
            "2020-10-01": {"activityLogAlerts": "ActivityLogAlertResource"},
            "2021-05-01-preview": {"diagnosticSettings": "DiagnosticSettingsResource"},
            "2022-10-01": {"autoscaleSettings": "AutoscaleSettingResource"},
            "2023-01-01": {"actionGroups": "ActionGroupResource"},
        }.items()
    ),
    _source(
        "azure-mgmt-monitor==7.0.0", "2023-12-01", "Insights", {"scheduledQueryRules": "ScheduledQueryRuleResource"}
    ),
    _source(
        "azure-mgmt-msi==7.0.0",
        "2023-01-31",
        "ManagedIdentity",
        {"userAssignedIdentities": "Identity"},
        models="v2023_01_31.models",
    ),
    _source(
        "azure-mgmt-network==28.1.0",
        "2024-05-01",
        "Network",
        {
            "natGateways": "NatGateway",
            "networkSecurityGroups": "NetworkSecurityGroup",
            "privateEndpoints": "PrivateEndpoint",
            "privateEndpoints/privateDnsZoneGroups": "PrivateDnsZoneGroup",
            "publicIPAddresses": "PublicIPAddress",
            "virtualNetworks": "VirtualNetwork",
        },
    ),
    _source(
        "azure-mgmt-privatedns==1.2.0",
        "2024-06-01",
        "Network",
        {"privateDnsZones": "PrivateZone", "privateDnsZones/virtualNetworkLinks": "VirtualNetworkLink"},
    ),
    _source(
        "azure-mgmt-resource==23.4.0",
        "2024-07-01",
        "Resources",
        {"resourceGroups": "ResourceGroup"},
        models="resources.v2024_07_01.models",
        used_for="2024-03-01",
    ),
    _source(
        "azure-mgmt-servicebus==10.0.0b1",
        "2022-10-01-preview",
        "ServiceBus",
        {
            "namespaces": "SBNamespace",
            "namespaces/networkRuleSets": {"default": "NetworkRuleSet"},
            "namespaces/queues": "SBQueue",
            "namespaces/topics": "SBTopic",
            "namespaces/topics/subscriptions": "SBSubscription",
            "namespaces/topics/subscriptions/rules": "Rule",
        },
        used_for="2024-01-01",
    ),
    _source(
        "azure-mgmt-storage==23.0.0",
        "2024-01-01",
        "Storage",
        {
            "storageAccounts": "StorageAccountCreateParameters",
            "storageAccounts/blobServices": {"default": "BlobServiceProperties"},
            "storageAccounts/blobServices/containers": "BlobContainer",
            "storageAccounts/managementPolicies": {"default": "ManagementPolicy"},
        },
    ),
    _source(
        "azure-mgmt-web==8.0.0",
        "2024-04-01",
        "Web",
        {
            "serverfarms": "AppServicePlan",
            "sites": "Site",
            "sites/basicPublishingCredentialsPolicies": dict.fromkeys(
                ("ftp", "scm"), "CsmPublishingCredentialsPoliciesEntity"
            ),
            "sites/config": {"appsettings": "StringDictionary", "authsettingsV2": "SiteAuthSettingsV2"},
        },
        models="v2024_04_01.models",
    ),
)
# Of types told apart by one of their fields, those that occur here: the others would be most of the file.
_ONLY = {"jobType": {"Command"}, "computeType": {"AmlCompute"}}
# What models call a type, by the name that JSON Schema has for it.
_CALLED: dict[str, tuple[Any, ...]] = {
    "integer": ("int", "long", "unix-time", int),
    "number": ("float", "decimal", float, Decimal),
    "boolean": ("bool", bool),
    "string": (
        *("str", "iso-8601", "rfc-1123", "duration", "date", "time", "base64", "base64url", "bytearray"),
        *(str, bytes, date, datetime, time, timedelta),
    ),
}
_PLAIN: dict[Any, Schema] = {one: {"type": name} for name, called in _CALLED.items() for one in called}
_PLAIN |= {"object": {}, Any: {}}
_LIMITS = {
    "minimum": "minimum",
    "maximum": "maximum",
    "minimum_ex": "exclusiveMinimum",
    "maximum_ex": "exclusiveMaximum",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_items": "minItems",
    "max_items": "maxItems",
    "pattern": "pattern",
}


@dataclass(frozen=True)
class _Field:
    """A property at a path of keys below its object: msrest models leave objects between out."""

    path: tuple[str, ...]
    schema: Schema
    required: bool


def write(folder: Path, resources: Iterable[str], file: Path = FILE, sources: Iterable[Source] = SOURCES) -> None:
    """Write the definitions of TYPE@VERSIONs. Raises KeyError for one that no source has."""
    by_resource = {resource: source for source in sources for resource in source.resources}
    found: dict[str, Any] = {"licenses": [], "packages": {}, "compared_with": {}, "resources": {}}
    definitions: Schema = {}
    for resource in sorted(set(resources)):
        source = by_resource[resource]
        models = _Models(folder, source, definitions)
        found["packages"][source.package], text = models.license()
        found["licenses"] += [text] if text not in ("", *found["licenses"]) else []
        if source.used_for not in ("", source.version):
            found["compared_with"][resource] = source.version
        found["resources"][resource] = models.resource(resource)
    lines = [f"{json.dumps(name)}:{json.dumps(one, sort_keys=True)}" for name, one in sorted(definitions.items())]
    head = json.dumps(found, indent=0)
    file.write_text(f'{head[:-2]},\n"$defs": {{\n' + ",\n".join(lines) + "\n}}\n")


class _Models:
    """The models of a source; adds to `definitions`."""

    def __init__(self, folder: Path, source: Source, definitions: Schema) -> None:
        name, _, version = source.package.partition("==")
        (self._wheel,) = folder.glob(f"{name.replace('-', '_')}-{version}-*.whl")
        self._source, self._definitions = source, definitions
        self._module = self._imported()

    def license(self) -> tuple[str, str]:
        """Its name and, where the package has it, its text."""
        with ZipFile(self._wheel) as wheel:
            (path,) = (one for one in wheel.namelist() if one.endswith(".dist-info/METADATA"))
            texts = [wheel.read(one) for one in wheel.namelist() if re.search(r"\.dist-info/.*LICENSE", one)]
            metadata = message_from_bytes(wheel.read(path))
        words = b" ".join(texts).decode().split()
        return str(metadata["License-Expression"] or metadata["License"]), " ".join(words)

    def _imported(self) -> ModuleType:
        """From the wheel itself, as other releases may be installed, and without the clients around the models."""
        name, folder = re.sub(r"\W", "_", self._source.package), f"{self._wheel}/{self._source.root}"
        for part in ("", *self._source.models.split(".")[:-1]):
            name, folder = (f"{name}.{part}", f"{folder}/{part}") if part else (name, folder)
            package = sys.modules.setdefault(name, ModuleType(name))
            package.__path__ = [folder]
        return import_module(f"{name}.models")

    def resource(self, resource: str) -> str:
        """The name of its definition: the model, and its name, which is part of the URL."""
        classes, name = self._source.resources[resource], resource.replace("/", ".")
        if isinstance(classes, str):
            self._definitions[name] = self._resource(classes)
        else:
            kinds = {kind: self._resource(one) for kind, one in classes.items()}
            self._definitions[name] = {"discriminator": {"propertyName": "name", "mapping": kinds}}
        return name

    def _resource(self, name: str) -> Schema:
        schema = self._object(getattr(self._module, name))
        own = {"properties": schema["properties"] | {"name": {"type": "string"}}}
        return schema | own | {"required": ["name", *schema["required"]]}

    def _reference(self, model: type) -> Schema:
        if "Model" not in {base.__name__ for base in model.__mro__}:
            raise TypeError(f"{model} is no model")
        name = f"{self._source.package}-{self._source.version}-{model.__name__}"
        if name not in self._definitions:
            self._definitions[name] = {}  # types may be recursive
            key, kinds = self._kinds(model)
            only = {kind: self._object(one) for kind, one in kinds.items() if kind in _ONLY.get(key, {kind})}
            chosen = {"type": "object", "discriminator": {"propertyName": key, "mapping": only}}
            self._definitions[name] = chosen if kinds else self._object(model)
        return {"$ref": f"#/$defs/{name}"}

    def _kinds(self, model: Any) -> tuple[str, dict[str, type]]:
        """The key that tells subclasses apart, and they by its value."""
        if hasattr(model, "_attribute_map"):
            ((field, direct),) = vars(model).get("_subtype_map", {"": {}}).items()
            key = model._attribute_map[field]["key"].replace("\\.", ".") if field else ""
            kinds = {kind: getattr(self._module, name) for kind, name in direct.items()}
        else:
            kinds = vars(model).get("__mapping__", {})
            key = next(
                (one._rest_name_input or name for name, one in _rest_fields(model).items() if one._is_discriminator), ""
            )
        below = [found for one in kinds.values() for other, found in [self._kinds(one)] if other == key]
        return key, {**kinds, **{kind: one for found in below for kind, one in found.items()}}

    def _object(self, model: Any) -> Schema:
        old = hasattr(model, "_attribute_map")
        return _nested((self._mapped if old else self._annotated)(model))

    def _mapped(self, model: Any) -> Iterator[_Field]:
        """Of a model of msrest. Only its description says which enumeration a text is of."""
        text = " ".join((model.__doc__ or "").split()) + " :"
        described = dict(re.findall(r":vartype (\w+): (.*?)(?= :)", text))
        for name, one in model._attribute_map.items():
            rules = model._validation.get(name, {})
            listed = [
                found
                for word in re.findall(r"~[\w.]*\.(\w+)", described.get(name, ""))
                if isinstance(found := getattr(self._module, word, None), type) and issubclass(found, Enum)
            ]
            schema = dict(self._named(one["type"], listed))
            if literals := _literals(model.__init__.__annotations__.get(name)):
                schema = {"enum": literals}
            elif rules.get("constant"):
                schema = {"enum": [getattr(model, name)]}
            schema |= {_LIMITS[rule]: limit for rule, limit in rules.items() if rule in _LIMITS}
            if rules.get("readonly"):
                schema["readOnly"] = True
            path = tuple(part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", one["key"]))
            yield _Field(path, schema, bool(rules.get("required")))

    def _named(self, kind: str, listed: list[type[Enum]]) -> Schema:
        if kind[0] == "[":
            return {"type": "array", "items": self._named(kind[1:-1], listed)}
        if kind[0] == "{":
            return {"type": "object", "additionalProperties": self._named(kind[1:-1], listed)}
        if kind == "str" and listed:
            return self._typed(listed[-1])
        return _PLAIN[kind] if kind in _PLAIN else self._typed(getattr(self._module, kind))

    def _annotated(self, model: Any) -> Iterator[_Field]:
        """Of a model with `rest_field`."""
        hints = get_type_hints(model, localns={"_models": self._module})
        for name, one in _rest_fields(model).items():
            schema, seen = dict(self._typed(hints[name])), one._visibility
            if seen == ["read"]:
                schema["readOnly"] = True
            elif seen and "read" not in seen:
                schema["writeOnly"] = True
            yield _Field((one._rest_name_input or name,), schema, NoneType not in get_args(hints[name]))

    def _typed(self, hint: Any) -> Schema:
        """An open list of values is held to those that it names as well."""
        arguments = [one for one in get_args(hint) if one is not NoneType]
        match get_origin(hint):
            case origin if origin is Literal:
                return {"enum": [one.value if isinstance(one, Enum) else one for one in arguments]}
            case origin if origin in (Union, UnionType):
                schemas = [self._typed(one) for one in arguments]
                return next((one for one in schemas if "enum" in one), schemas[0])
            case origin if origin is list:
                return {"type": "array", "items": self._typed(arguments[0])}
            case origin if origin is dict:
                return {"type": "object", "additionalProperties": self._typed(arguments[1])}
        if hint in _PLAIN:
            return _PLAIN[hint]
        if issubclass(hint, Enum):
            return {"enum": [one.value for one in hint]}
        return self._reference(hint)


def _literals(hint: Any) -> list[Any]:
    return (
        list(get_args(hint)) if get_origin(hint) is Literal else [x for one in get_args(hint) for x in _literals(one)]
    )


def _rest_fields(model: type) -> dict[str, Any]:
    return {
        name: one
        for base in reversed(model.__mro__)
        for name, one in vars(base).items()
        if type(one).__name__ == "_RestField"
    }


def _nested(fields: Iterable[_Field]) -> Schema:
    """The object that has fields at their paths. What has to have a required property is required itself."""
    schema: Schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    below: dict[str, list[_Field]] = {}
    for one in fields:
        key, *rest = one.path
        if not key:
            schema["additionalProperties"] = one.schema.get("additionalProperties", {})
        elif rest:
            below.setdefault(key, []).append(_Field(tuple(rest), one.schema, one.required))
        else:
            schema["properties"][key] = one.schema
            schema["required"] += [key] if one.required and not {"readOnly", "writeOnly"} & one.schema.keys() else []
    for key, inner in below.items():
        schema["properties"][key] = _nested(inner)
        schema["required"] += [key] if schema["properties"][key]["required"] else []
    return schema


if __name__ == "__main__":
    declared = {f"{resource.type}@{resource.version}" for resource in bicep.read(ROOT / "infra").resources}
    write(Path(sys.argv[1]), {*declared, *AZURE_ML})
