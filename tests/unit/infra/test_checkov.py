"""checkov's report is compared with the accepted one: what is new, unread or gone is a finding."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.gate import checkov
from tests.paths import ROOT

PROGRAM = ROOT / ".venv-checkov" / "bin" / "checkov"
REVIEW = {
    "at_least": 2,
    "accepted": [{"checks": ["CKV_AZURE_1"], "where": ["modules/a.bicep:one"], "reason": "because"}],
}


def failed(check: str, symbol: str) -> dict[str, str]:
    """The fields of a failed check that are read, in the form checkov 3.3.30 gives them."""
    return {
        "check_id": check,
        "check_name": "Ensure it",
        "file_path": "/modules/a.bicep",
        "resource": f"Microsoft.Web/sites.{symbol}",
    }


def report(*checks: dict[str, str], count: int = 2, unread: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "summary": {"resource_count": count, "checkov_version": checkov.VERSION, "parsing_errors": len(unread)},
        "results": {"failed_checks": list(checks), "parsing_errors": list(unread)},
    }


def test_what_is_accepted_is_no_finding() -> None:
    assert list(checkov.compare(report(failed("CKV_AZURE_1", "one")), REVIEW)) == []


def test_what_is_not_accepted_is_a_finding_also_the_same_check_elsewhere() -> None:
    checks = [failed("CKV_AZURE_1", "one"), failed("CKV_AZURE_1", "two"), failed("CKV_AZURE_2", "one")]
    assert [str(finding) for finding in checkov.compare(report(*checks), REVIEW)] == [
        "modules/a.bicep:two: checkov: CKV_AZURE_1: Ensure it",
        "modules/a.bicep:one: checkov: CKV_AZURE_2: Ensure it",
    ]


def test_what_is_accepted_and_no_longer_said_is_a_finding() -> None:
    assert [finding.message for finding in checkov.compare(report(), REVIEW)] == [
        "CKV_AZURE_1 is accepted and no longer reported"
    ]


def test_a_file_checkov_cannot_read_is_a_finding_though_it_exits_0() -> None:
    found = list(checkov.compare(report(failed("CKV_AZURE_1", "one"), unread=("modules/b.bicep",)), REVIEW))
    assert [(finding.where, finding.message) for finding in found] == [("modules/b.bicep", "cannot be read")]


def test_fewer_resources_than_there_were_are_a_finding() -> None:
    found = list(checkov.compare(report(failed("CKV_AZURE_1", "one"), count=1), REVIEW))
    assert [finding.message for finding in found] == ["1 resources, expected 2"]


def test_an_acceptance_without_a_reason_is_a_finding() -> None:
    review = {**REVIEW, "accepted": [{**REVIEW["accepted"][0], "reason": " "}]}  # type: ignore[index]
    found = list(checkov.compare(report(failed("CKV_AZURE_1", "one")), review))
    assert [finding.message for finding in found] == ["['CKV_AZURE_1'] accepted without a reason"]


@pytest.mark.slow
@pytest.mark.skipif(not PROGRAM.exists(), reason="checkov is not installed; `make check` does that")
def test_checkov_finds_a_public_container_and_passes_over_a_file_it_cannot_read(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "infra", tmp_path / "infra", ignore=shutil.ignore_patterns("__pycache__", "gate"))
    storage = tmp_path / "infra" / "modules" / "storage.bicep"
    storage.write_text(storage.read_text().replace("publicAccess: 'None'", "publicAccess: 'Blob'"))
    vault = tmp_path / "infra" / "modules" / "vault.bicep"
    vault.write_text(vault.read_text() + "\nfunc double(a int) int => a * 2\n")
    found = [str(finding) for finding in checkov.findings(PROGRAM, tmp_path / "infra")]
    assert any(line.startswith("modules/storage.bicep:blobContainers: checkov: CKV_AZURE_34") for line in found), found
    assert any("resources, expected" in line for line in found), found
