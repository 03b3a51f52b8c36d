"""The app registration and its roles: the real hook and the real Azure CLI, against recorded answers."""

from __future__ import annotations

import json

import pytest

from tests.unit.infra.recorded_azure import (
    CLIENT,
    HOOKS,
    ME,
    OTHER_SUBSCRIPTION,
    OTHER_TENANT,
    PRINCIPAL,
    SUBSCRIPTION,
    TENANT,
    Cli,
)

pytestmark = pytest.mark.ci
ROLES = {role["value"]: role["id"] for role in json.loads((HOOKS / "app-roles.json").read_text())}


def test_who_deploys_becomes_reader_and_operator_and_not_approver_and_a_second_run_changes_nothing(cli: Cli) -> None:
    first = cli.run("register-app.sh")
    assert (first.returncode, first.stderr) == (0, "")
    assert "made you reader\nmade you operator\n" in first.stdout
    assert first.stdout.endswith(f"then, for the command line: export DROPTUNE_AUDIENCE=api://{CLIENT}\n")
    assert cli.remembered() == {"API_AUDIENCE": CLIENT}
    held = [{"principalId": ME, "resourceId": PRINCIPAL, "appRoleId": ROLES[role]} for role in ("reader", "operator")]
    assert [{key: one[key] for key in ("principalId", "resourceId", "appRoleId")} for one in cli.azure.assigned] == held
    (application,), (principal,) = cli.azure.applications, cli.azure.principals
    assert {role["value"] for role in application["appRoles"]} == ROLES.keys()
    assert application["identifierUris"] == [f"api://{CLIENT}"]
    assert application["api"]["requestedAccessTokenVersion"] == 2
    assert application["api"]["preAuthorizedApplications"][0]["appId"] == "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
    assert application["signInAudience"] == "AzureADMyOrg"
    assert principal["appRoleAssignmentRequired"] is True
    assert {one.tenant for one in cli.azure.requests} == {TENANT}

    second = cli.run("register-app.sh")
    assert second.returncode == 0
    assert "you are reader\nyou are operator\n" in second.stdout
    assert (len(cli.azure.applications), len(cli.azure.principals), len(cli.azure.assigned)) == (1, 1, 2)


def test_an_application_that_entra_does_not_know_everywhere_yet_is_changed_again(cli: Cli) -> None:
    cli.azure.not_yet = 3
    assert cli.run("register-app.sh").returncode == 0
    assert cli.noted("sleep") == ["2", "4", "8"]
    assert cli.azure.applications[0]["api"]["requestedAccessTokenVersion"] == 2


def test_an_application_that_stays_unknown_stops_azd(cli: Cli) -> None:
    cli.azure.not_yet = 100
    done = cli.run("register-app.sh")
    assert done.returncode == 1
    assert "does not exist" in done.stderr
    assert cli.noted("azd") == []


def test_who_may_assign_no_role_is_told_and_the_deployment_goes_on(cli: Cli) -> None:
    cli.azure.may_assign = False
    done = cli.run("register-app.sh")
    assert done.returncode == 0
    assert "you may not make yourself reader" in done.stdout
    assert "you may not make yourself operator" in done.stdout
    assert f"API_AUDIENCE={CLIENT}" in done.stdout


def test_a_pipeline_that_deploys_gets_no_role(cli: Cli) -> None:
    cli.azure.signed_in = False
    done = cli.run("register-app.sh")
    assert done.returncode == 0
    assert cli.azure.assigned == []
    assert "you are" not in done.stdout


def test_the_registration_is_refused_in_another_tenant_than_the_subscriptions(cli: Cli) -> None:
    """Microsoft Graph gets requests in the tenant of the CLI's default subscription, whatever `--subscription` says."""
    cli.sign_in((OTHER_SUBSCRIPTION, OTHER_TENANT), (SUBSCRIPTION, TENANT))
    done = cli.run("register-app.sh")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith(
        f"the Azure CLI is in tenant {OTHER_TENANT}, azd's subscription in {TENANT}"
    )
    assert done.stderr.splitlines()[-1].endswith(f"az account set --subscription {SUBSCRIPTION}")
    assert cli.azure.requests == []


def test_another_default_subscription_of_the_same_tenant_will_do(cli: Cli) -> None:
    cli.sign_in((OTHER_SUBSCRIPTION, TENANT), (SUBSCRIPTION, TENANT))
    assert cli.run("register-app.sh").returncode == 0


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"AZURE_SUBSCRIPTION_ID": ""}, "azd has no subscription yet: azd env set AZURE_SUBSCRIPTION_ID ..."),
        (
            {"AZURE_SUBSCRIPTION_ID": OTHER_SUBSCRIPTION},
            f"azd deploys to subscription {OTHER_SUBSCRIPTION}, which the Azure CLI does not see: az login",
        ),
    ],
    ids=["none", "unknown"],
)
@pytest.mark.parametrize("hook", ["preprovision", "postprovision", "register-app", "predown", "postdown"])
def test_no_hook_does_anything_without_a_subscription_that_both_know(
    cli: Cli, hook: str, environ: dict[str, str], message: str
) -> None:
    done = cli.run(f"{hook}.sh", **environ)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, message)
    assert cli.azure.requests == []
