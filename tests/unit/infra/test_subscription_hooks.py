"""What a subscription needs before a deployment, and what `azd down` leaves: real hooks and CLI, recorded answers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.gate import bicep
from tests.paths import ROOT
from tests.unit.infra.recorded_azure import CLIENT, HOOKS, OTHER_SUBSCRIPTION, SUBSCRIPTION, TENANT, Cli

pytestmark = pytest.mark.ci
SCRIPT = (HOOKS / "preprovision.sh").read_text()
PROVIDERS = re.findall(r"Microsoft\.\w+", SCRIPT.partition('providers="')[2].partition('"')[0])
# Always registered (Azure Resource Manager documentation, "Azure resource providers and types").
ALWAYS = {"Microsoft.Authorization", "Microsoft.Resources"}
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-test"
PROVISIONED = {"AZURE_RESOURCE_GROUP": "rg-test", "DROPTUNE_WORKSPACE": "mlw-abc", "API_AUDIENCE": CLIENT}


@pytest.fixture
def ready(cli: Cli) -> Cli:
    """A subscription in which everything is registered."""
    cli.azure.registered = {provider.lower() for provider in PROVIDERS}
    return cli


def test_each_provider_that_the_template_names_is_registered() -> None:
    named = {resource.type.split("/")[0] for resource in bicep.read(ROOT / "infra").resources}
    assert named - ALWAYS <= set(PROVIDERS)
    assert {"Microsoft.App", "Microsoft.PolicyInsights", "Microsoft.Cdn"} <= set(PROVIDERS)


def test_what_is_not_registered_is_and_the_rest_is_left(ready: Cli) -> None:
    ready.azure.registered -= {"microsoft.app", "microsoft.cdn"}
    done = ready.run("preprovision.sh", BUDGET_START="2026-12-01", ALERT_EMAIL="a@example.org")
    assert (done.returncode, done.stderr) == (0, "")
    registered = {one.path.split("/")[-2] for one in ready.azure.sent("POST", "/register$")}
    assert registered == {"Microsoft.App", "Microsoft.Cdn"}
    assert ready.azure.registered == {provider.lower() for provider in PROVIDERS}
    assert "region eastus has what the template needs\n" in done.stdout
    assert ready.remembered() == {"API_AUDIENCE": CLIENT}
    assert ready.azure.unknown == []


def test_the_start_of_the_budget_and_who_gets_alerts_are_chosen_once(ready: Cli) -> None:
    assert ready.run("preprovision.sh").returncode == 0
    chosen = ready.remembered()
    assert re.fullmatch(r"\d{4}-\d\d-01", chosen["BUDGET_START"])
    assert chosen["ALERT_EMAIL"] == "me@example.org"


def test_all_of_it_happens_in_the_subscription_of_azd(ready: Cli) -> None:
    ready.sign_in((OTHER_SUBSCRIPTION, TENANT), (SUBSCRIPTION, TENANT))
    ready.azure.registered.discard("microsoft.app")
    assert ready.run("preprovision.sh").returncode == 0
    assert ready.azure.sent("POST", "/providers/Microsoft.App/register$")
    assert not [one for one in ready.azure.requests if OTHER_SUBSCRIPTION in one.path]


@pytest.mark.parametrize(
    ("lacks", "message"),
    [
        ({"flex_regions": ("Sweden Central",)}, "Flex Consumption"),
        ({"pythons": ("3.11", "3.12")}, "Python 3.13 of Azure Functions"),
        ({"skus": ("Standard_LRS",)}, "storage Standard_ZRS (STORAGE_SKU may be Standard_LRS)"),
        ({"machine_learning": ("Sweden Central",)}, "Azure Machine Learning"),
    ],
    ids=["functions", "python", "zones", "machine-learning"],
)
def test_a_region_that_lacks_something_is_refused_before_anything_is_made(
    ready: Cli, lacks: dict[str, Any], message: str
) -> None:
    for name, value in lacks.items():
        setattr(ready.azure, name, value)
    done = ready.run("preprovision.sh")
    assert (done.returncode, done.stderr) == (1, f"{message} is not in region eastus: azd env set AZURE_LOCATION ...\n")
    assert ready.azure.applications == []


def test_a_cli_without_the_extension_that_is_needed_in_the_end_is_refused_before_anything_is_made(ready: Cli) -> None:
    (ready.place / "no-ml").touch()
    done = ready.run("preprovision.sh")
    assert (done.returncode, done.stderr) == (1, "the Azure CLI has no extension ml: az extension add -n ml\n")
    assert {request.method for request in ready.azure.requests} <= {"GET"}
    assert (ready.azure.applications, ready.remembered()) == ([], {})


def test_a_region_without_zones_will_do_with_the_other_storage(ready: Cli) -> None:
    ready.azure.skus = ("Standard_LRS",)
    assert ready.run("preprovision.sh", STORAGE_SKU="Standard_LRS").returncode == 0


def test_the_custom_roles_go_before_the_group_and_what_was_assigned_by_them_first(cli: Cli) -> None:
    workspace = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/mlw-abc"
    everywhere = f"/subscriptions/{SUBSCRIPTION}"
    names = {"orchestrator (mlw-abc)": workspace, "judge caller (mlw-abc)": workspace}
    names |= {"autoscaler (mlw-abc)": GROUP, "quota reader (abc)": everywhere}
    for number, (name, place) in enumerate(names.items()):
        defined = everywhere if place == everywhere else GROUP
        definition = f"{defined}/providers/Microsoft.Authorization/roleDefinitions/5555-{number}"
        cli.azure.roles[f"Droptune {name}"] = definition
        cli.azure.role_assignments[f"{place}/providers/Microsoft.Authorization/roleAssignments/66-{number}"] = (
            definition
        )
    other = f"{everywhere}/providers/Microsoft.Authorization/roleAssignments/77"
    cli.azure.role_assignments[other] = f"{everywhere}/providers/Microsoft.Authorization/roleDefinitions/reader"

    done = cli.run("predown.sh", **PROVISIONED)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if "removed" in line] == [
        f"removed role Droptune {name}" for name in names
    ]
    assert cli.azure.roles == {}
    assert set(cli.azure.role_assignments) == {other}

    again = cli.run("predown.sh", **PROVISIONED)
    assert (again.returncode, again.stdout.count("there is no role")) == (0, 4)


def test_the_names_of_the_roles_are_those_of_the_template() -> None:
    roles = bicep.read(ROOT / "infra").of_type("Microsoft.Authorization/roleDefinitions")
    names = {bicep.source(role.get("properties.roleName")).strip("'").partition(" (")[0] for role in roles}
    assert names == set(re.findall(r'^remove "(.*?) \(', (HOOKS / "predown.sh").read_text(), re.MULTILINE))


def test_nothing_provisioned_is_nothing_to_remove(cli: Cli) -> None:
    assert cli.run("predown.sh").stdout == "nothing is provisioned, so there are no roles\n"
    assert cli.run("postdown.sh").stdout == "there is no app registration\n"
    assert cli.azure.requests == []


def test_the_app_registration_goes_after_the_group(cli: Cli) -> None:
    assert cli.run("register-app.sh").returncode == 0
    done = cli.run("postdown.sh", **PROVISIONED)
    assert (done.returncode, done.stdout) == (0, f"removed app registration {CLIENT}\n")
    assert cli.azure.applications == []
    assert cli.remembered() == {"API_AUDIENCE": ""}
    assert cli.run("postdown.sh", **PROVISIONED).returncode == 0
