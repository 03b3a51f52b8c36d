"""Who deploys can look and operate at once: the real hook, with programs in the place of the Azure CLI and azd."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.paths import ROOT

HOOK = ROOT / "infra" / "hooks" / "register-app.sh"
# Answers what the hook asks for; an assignment that was made is there the next time.
AZ = """#!/bin/sh
echo "$@" >> "$PLACE/calls"
role() { case "$*" in *"value=='reader'"*) echo id-of-reader ;; *) echo id-of-operator ;; esac; }
case "$*" in
    "ad app list"*) echo client-1 ;;
    "ad app show"*"appRoles["*) role "$*" ;;
    "ad app show"*) echo object-1 ;;
    "ad sp show"*"--query id"*) echo application-1 ;;
    "ad signed-in-user show"*) [ -n "$ME" ] && echo "$ME" ;;
    "rest --method GET"*"id-of-reader"*) cat "$PLACE/id-of-reader" 2>/dev/null || : ;;
    "rest --method GET"*"id-of-operator"*) cat "$PLACE/id-of-operator" 2>/dev/null || : ;;
    "rest --method POST"*) [ -e "$PLACE/forbidden" ] && exit 1 ;;
esac
case "$*" in
    "rest --method POST"*"id-of-reader"*) echo assignment > "$PLACE/id-of-reader" ;;
    "rest --method POST"*"id-of-operator"*) echo assignment > "$PLACE/id-of-operator" ;;
esac
"""


@dataclass
class Tenant:
    place: Path

    def run(self, principal: str = "me-1") -> str:
        (self.place / "calls").unlink(missing_ok=True)
        environ = {"PATH": f"{self.place / 'bin'}:{os.environ['PATH']}", "PLACE": str(self.place), "ME": principal}
        done = subprocess.run([HOOK], env={**environ, "AZURE_ENV_NAME": "test"}, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def assigned(self) -> list[dict[str, str]]:
        calls = (self.place / "calls").read_text().splitlines()
        return [json.loads(line[line.index("{") :]) for line in calls if line.startswith("rest --method POST")]


@pytest.fixture
def tenant(tmp_path: Path) -> Tenant:
    (tmp_path / "bin").mkdir()
    for name, text in (("az", AZ), ("azd", "#!/bin/sh\n")):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return Tenant(tmp_path)


def test_who_deploys_becomes_reader_and_operator_and_not_approver(tenant: Tenant) -> None:
    output = tenant.run()
    assert tenant.assigned() == [
        {"principalId": "me-1", "resourceId": "application-1", "appRoleId": f"id-of-{role}"}
        for role in ("reader", "operator")
    ]
    assert "made you reader\nmade you operator\n" in output


def test_the_second_time_nothing_is_assigned(tenant: Tenant) -> None:
    tenant.run()
    output = tenant.run()
    assert tenant.assigned() == []
    assert "you are reader\nyou are operator\n" in output


def test_who_may_assign_no_role_is_told_and_the_deployment_goes_on(tenant: Tenant) -> None:
    (tenant.place / "forbidden").touch()
    output = tenant.run()
    assert "you may not make yourself reader" in output
    assert "you may not make yourself operator" in output
    assert "API_AUDIENCE=client-1" in output


def test_a_pipeline_that_deploys_gets_no_role(tenant: Tenant) -> None:
    output = tenant.run(principal="")
    assert tenant.assigned() == []
    assert "you are" not in output
