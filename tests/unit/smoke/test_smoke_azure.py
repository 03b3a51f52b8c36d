"""The smoke test in Azure, its real command lines, with programs in the place of the Azure CLI and azd.

That the Azure CLI takes these lines: `make check`, tests/azure_cli. That the steps do what they should:
tests/stack/test_smoke.py.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gate import bicep
from tests.paths import ROOT
from tests.stack.local import until

pytestmark = pytest.mark.ci

SUBSCRIPTION = "11111111-0000-0000-0000-000000000001"
OTHER_SUBSCRIPTION = "11111111-0000-0000-0000-000000000002"
TOKEN = "abcdefghijklm"
# What a subscription that has everything answers.
AZ = f"""#!/bin/sh
echo "az $*" >> "$PLACE/calls"
case "$*" in
    "version"*) echo 2.91.0 ;;
    "extension show"*) echo 2.40.0 ;;
    "account show"*) printf '{SUBSCRIPTION}\\tme@example.org\\n' ;;
    "role assignment list"*) printf 'Contributor\\nOwner\\n' ;;
    *authorizationPolicy*) echo true ;;
    "storage sku list"*) echo Standard_ZRS ;;
    "account list"*) printf '{OTHER_SUBSCRIPTION}\\n{SUBSCRIPTION}\\n' ;;
    "functionapp list-flexconsumption-locations"*) printf 'eastus\\nswedencentral\\n' ;;
    "functionapp list-flexconsumption-runtimes"*) printf '3.12\\n3.13\\n' ;;
    *vmSizes*) printf 'StandardNCADSA100v4Family\\t24\\n' ;;
    *usages*) printf 'standardDSv2Family\\t100\\t0\\nstandardNCADSA100v4Family\\t96\\t48\\n' ;;
    "ml model show"*) echo mistralai-Mistral-7B-Instruct-v0-3 ;;
    "group exists"*) echo false ;;
    *prices.azure.com*) echo 3.673 ;;
    "identity list"*) test ! -e "$PLACE/provisioned" || echo id-job-{TOKEN} ;;
    "role definition list"*"mlw-"*) test -e "$PLACE/no-roles" || printf 'guid-1\\nguid-2\\n' ;;
    "role definition list"*"'({TOKEN})'"*) test -e "$PLACE/no-roles" || echo guid-3 ;;
    "keyvault list-deleted"*) echo kv-{TOKEN} ;;
    "group list"*) cat "$PLACE/group" 2>/dev/null || : ;;
esac
"""
AZD = f"""#!/bin/sh
echo "azd $*" >> "$PLACE/calls"
case "$*" in
    "version"*) echo '{{"azd": {{"version": "1.20.0", "commit": "0"}}}}' ;;
    "auth login --check-status"*) echo '{{ "status": "success" }}' ;;
    "env list"*) echo '[{{"Name": "mine", "IsDefault": true}}]' ;;
    "env get-value AZURE_SUBSCRIPTION_ID"*) echo {SUBSCRIPTION} ;;
    "up"*) touch "$PLACE/provisioned"; echo "a deployment failed" >&2; exit 1 ;;
esac
"""
OPTIONS = ("--location", "eastus", "--yes")


class Subscription:
    def __init__(self, place: Path) -> None:
        self.place, self.report = place, place / "report.json"
        (place / "bin").mkdir()

    def program(self, name: str, text: str) -> None:
        (self.place / "bin" / name).write_text(text)
        (self.place / "bin" / name).chmod(0o755)

    def start(self, *options: str, output: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.smoke", *options, "--report", str(self.report)]
        path = f"{self.place / 'bin'}:/usr/bin:/bin"
        environ = {"PATH": path, "PLACE": str(self.place), "HOME": str(self.place)}
        return subprocess.Popen(
            command, cwd=ROOT, env=environ, text=True, stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )

    def smoke(self, *options: str) -> tuple[int, dict[str, Any], str]:
        process = self.start(*options, output=subprocess.PIPE)
        output, errors = process.communicate()
        return process.returncode, json.loads(self.report.read_text()), output + errors

    def calls(self) -> list[str]:
        return (self.place / "calls").read_text().splitlines()


@pytest.fixture
def subscription(tmp_path: Path) -> Iterator[Subscription]:
    found = Subscription(tmp_path)
    found.program("az", AZ)
    found.program("azd", AZD)
    yield found
    assert not (ROOT / ".droptune" / json.loads(found.report.read_text())["environment"]).exists()


def test_without_programs_every_one_of_them_is_named_with_its_remedy(subscription: Subscription) -> None:
    for name in ("az", "azd"):
        (subscription.place / "bin" / name).unlink()
    code, report, output = subscription.smoke(*OPTIONS)
    assert (code, [step["name"] for step in report["steps"]]) == (1, ["prerequisites"])
    evidence = report["steps"][0]["evidence"]
    assert evidence["emulators"] == {"status": "not applicable"}
    assert evidence["Azure CLI"]["problem"] == "there is no program az"
    assert evidence["Azure Developer CLI"]["problem"] == "there is no program azd"
    assert evidence["quota for a job and an endpoint"]["problem"] == "'subscription' is not known"
    others = ("emulators", "list price", "the caller may register applications in Entra")
    assert {done["status"] for name, done in evidence.items() if name not in others} == {"failed"}
    assert "az login, then az account set --subscription NAME" in output


@pytest.mark.few_cases(2)
@pytest.mark.parametrize(
    ("answer", "instead", "check"),
    [
        ("Contributor\\nOwner", "Contributor", "the caller may assign roles"),
        ("Standard_ZRS", "", "storage redundancy in the region"),
        ("eastus\\n", "", "Flex Consumption in the region"),
        ("3.12\\n3.13", "3.12", "Python 3.13 in the region"),
        ("StandardNCADSA100v4Family\\t24", "", "GPU size in the region"),
        ("\\t96\\t48", "\\t96\\t49", "quota for a job and an endpoint"),
        ("echo mistralai-Mistral-7B-Instruct-v0-3", "exit 3", "base model in the registry"),
        ("echo false", "echo true", "no group of that name"),
    ],
)
def test_what_the_subscription_lacks_is_found_before_anything_is_made(
    answer: str, instead: str, check: str, subscription: Subscription
) -> None:
    assert AZ.count(answer) == 1
    subscription.program("az", AZ.replace(answer, instead))
    code, report, _ = subscription.smoke(*OPTIONS)
    assert (code, report["result"]) == (1, "failed: prerequisites")
    evidence = report["steps"][0]["evidence"]
    assert evidence[check]["status"] == "failed"
    assert evidence[check]["remedy"]
    assert not [call for call in subscription.calls() if re.match("azd (up|env new)|az .*delete", call)]


@pytest.mark.parametrize("answer", ["echo false", "exit 1"])
def test_a_right_that_no_answer_denies_is_named_as_not_checked(answer: str, subscription: Subscription) -> None:
    """Who may not read the policy, or holds a role, may register applications all the same."""
    subscription.program("az", AZ.replace("*authorizationPolicy*) echo true", f"*authorizationPolicy*) {answer}"))
    _, report, output = subscription.smoke(*OPTIONS, "--max-usd", "1")
    name = "the caller may register applications in Entra"
    found = report["steps"][0]["evidence"][name]
    assert (report["steps"][0]["status"], found["status"]) == ("passed", "not checked")
    assert f"not checked: {name}; {found['problem']}; azd up registers one first of all" in output


def test_azd_that_is_not_signed_in_is_found_though_its_exit_code_is_0(subscription: Subscription) -> None:
    subscription.program("azd", AZD.replace("success", "unauthenticated"))
    code, report, _ = subscription.smoke(*OPTIONS)
    assert code == 1
    assert report["steps"][0]["evidence"]["azd is signed in"]["remedy"] == "azd auth login"


def test_the_list_price_is_that_of_the_region_and_without_one_it_does_not_begin(subscription: Subscription) -> None:
    code, report, output = subscription.smoke(*OPTIONS, "--max-usd", "1")
    assert (code, report["result"]) == (1, "failed: cost")
    assert (report["cost"]["usd_per_hour"], report["cost"]["price"]) == (3.673, "Azure Retail Prices, when this began")
    assert "Standard_NC24ads_A100_v4 costs 3.673 USD an hour" in output
    subscription.program("az", AZ.replace("echo 3.673", "echo"))
    code, report, output = subscription.smoke(*OPTIONS)
    assert (code, report["result"]) == (1, "failed: cost")
    assert "pass --usd-per-hour" in output


def test_a_deployment_that_fails_is_removed_by_its_names_and_what_stays_is_named(subscription: Subscription) -> None:
    code, report, output = subscription.smoke(*OPTIONS)
    assert (code, report["result"]) == (1, "failed: provision"), output
    env, steps = report["environment"], {step["name"]: step for step in report["steps"]}
    calls = subscription.calls()
    assert f"azd env new {env} --subscription {SUBSCRIPTION} --location eastus --no-prompt" in calls
    assert calls.index("azd env select mine") < calls.index(f"azd up --environment {env} --no-prompt")
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-{env}"
    place = f"{group}/providers/Microsoft.MachineLearningServices/workspaces/mlw-{TOKEN}"
    deleted = [call for call in calls if re.search(" delete | down ", call)]
    assert deleted == [
        f"az ml online-endpoint delete --name {env} --resource-group rg-{env} --workspace-name mlw-{TOKEN}"
        f" --subscription {SUBSCRIPTION} --yes",
        f"az role assignment delete --role guid-1 --scope {place}",
        f"az role assignment delete --role guid-2 --scope {place}",
        f"az role definition delete --name guid-1 --scope {group}",
        f"az role definition delete --name guid-2 --scope {group}",
        f"az role assignment delete --role guid-3 --scope /subscriptions/{SUBSCRIPTION}",
        f"az role definition delete --name guid-3 --scope /subscriptions/{SUBSCRIPTION}",
        f"az ml workspace delete --name mlw-{TOKEN} --resource-group rg-{env} --subscription {SUBSCRIPTION}"
        " --permanently-delete --yes",
        f"azd down --environment {env} --force --purge --no-prompt",
    ]
    vault = steps["removal"]["evidence"]["no deleted key vault"]
    assert (vault["status"], vault["problem"]) == ("kept", f"left: kv-{TOKEN}")
    assert (steps["removal"]["status"], report["names"]["token"]) == ("passed", TOKEN)
    assert SUBSCRIPTION not in subscription.report.read_text()
    assert "me@example.org" not in subscription.report.read_text()


def test_a_group_that_azd_leaves_is_deleted_and_one_that_stays_is_named(subscription: Subscription) -> None:
    subscription.program("az", AZ.replace('cat "$PLACE/group" 2>/dev/null || :', "echo rg-stays"))
    code, report, _ = subscription.smoke(*OPTIONS)
    assert (code, report["result"]) == (3, "failed: provision, removal")
    assert report["steps"][-1]["problem"] == "no resource group: left: rg-stays"
    assert f"az group delete --name rg-stays --subscription {SUBSCRIPTION} --yes" in subscription.calls()


def azd_of(env: str) -> list[str]:
    lines = subprocess.run(["ps", "-ewwo", "args"], text=True, capture_output=True, check=True).stdout.splitlines()
    return [line for line in lines if f"azd up --environment {env}" in line]


def killed(subscription: Subscription) -> str:
    """The environment of a smoke test that was killed while azd made its group, and azd has forgotten it."""
    wait = 'touch "$PLACE/group-is-made"; echo rg-stays > "$PLACE/group"; while sleep 1; do :; done'
    subscription.program("azd", AZD.replace('touch "$PLACE/provisioned"; echo "a deployment failed" >&2; exit 1', wait))
    process = subscription.start(*OPTIONS)
    until((subscription.place / "group-is-made").exists, "azd makes resources", within_s=60)
    process.kill()
    process.wait()
    subscription.program("azd", AZD.replace(f"echo {SUBSCRIPTION}", "exit 1"))
    report = json.loads(subscription.report.read_text())
    assert (report["result"], report["steps"][-1]["status"]) == ("not removed", "running")
    return str(report["environment"])


def test_a_group_is_found_by_the_report_alone_and_what_outlived_the_smoke_test_is_ended(
    subscription: Subscription,
) -> None:
    env = killed(subscription)
    assert len(azd_of(env)) == 1
    subscription.program("az", AZ.replace("esac", '    "group delete"*) rm "$PLACE/group" ;;\nesac'))
    code, report, output = subscription.smoke("--resume-removal", str(subscription.report))
    assert (code, report["result"]) == (1, "failed: provision"), output
    assert report["steps"][-2]["problem"] == "it did not finish"
    removal = report["steps"][-1]
    assert (removal["status"], removal["evidence"]["no resource group"]["status"]) == ("passed", "passed")
    assert f"az group delete --name rg-stays --subscription {SUBSCRIPTION} --yes" in subscription.calls()
    assert not [call for call in subscription.calls() if OTHER_SUBSCRIPTION in call]
    assert SUBSCRIPTION not in subscription.report.read_text()
    assert azd_of(env) == []


def test_a_group_that_cannot_be_looked_for_is_left_and_named(subscription: Subscription) -> None:
    env = killed(subscription)
    subscription.program("az", AZ.replace(f"\\n{SUBSCRIPTION}\\n", "\\n"))
    code, report, output = subscription.smoke("--resume-removal", str(subscription.report))
    assert (code, report["result"]) == (3, "failed: provision, removal")
    found = report["steps"][-1]["evidence"]["no resource group"]
    assert (found["status"], found["problem"]) == ("failed", "'subscription' is not known")
    assert f"az group show --name rg-{env}" in output


def test_the_group_has_the_name_that_the_template_gives_it() -> None:
    groups = bicep.read(ROOT / "infra").of_type("Microsoft.Resources/resourceGroups")
    assert [bicep.source(group.get("name")) for group in groups] == ["'rg-${environmentName}'"]


def test_nothing_was_made_is_nothing_to_remove_even_without_programs(subscription: Subscription) -> None:
    for name in ("az", "azd"):
        (subscription.place / "bin" / name).unlink()
    assert subscription.smoke(*OPTIONS)[0] == 1
    before = subscription.report.read_text()
    code, _, output = subscription.smoke("--resume-removal", str(subscription.report))
    assert (code, output.splitlines()[0]) == (0, "nothing was made")
    assert subscription.report.read_text() == before


def test_without_the_end_of_the_names_no_role_is_touched(subscription: Subscription) -> None:
    subscription.program("azd", AZD.replace('touch "$PLACE/provisioned"; ', ""))
    code, report, _ = subscription.smoke(*OPTIONS)
    assert (code, report["result"]) == (1, "failed: provision")
    assert not [call for call in subscription.calls() if re.match("az role (definition|assignment) delete", call)]
    assert report["steps"][-1]["evidence"]["no role definition"]["status"] == "not tried"
