"""checkov over the Bicep files. It exits 0 on files it cannot read, so what it read is counted."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.gate.finding import Finding

ACCEPTED = Path(__file__).with_name("checkov.yaml")
VERSION = "3.3.30"


def run(program: Path, folder: Path) -> dict[str, Any]:
    """checkov's report. Raises CalledProcessError, JSONDecodeError if there is none."""
    arguments = ["-d", str(folder), "--framework", "bicep", "--skip-download", "--soft-fail", "-o", "json", "--quiet"]
    done = subprocess.run([str(program), *arguments], check=True, capture_output=True, text=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def compare(report: dict[str, Any], review: dict[str, Any]) -> Iterator[Finding]:
    """Findings of a report in the light of what is accepted (the content of checkov.yaml)."""
    summary = report.get("summary", {})
    if summary.get("checkov_version") != VERSION:
        yield Finding("checkov", "checkov", f"version {summary.get('checkov_version')}, not {VERSION}")
    for path in report.get("results", {}).get("parsing_errors", []):
        yield Finding("checkov", str(path), "cannot be read")
    if summary.get("resource_count", 0) < review["at_least"]:
        yield Finding(
            "checkov", "infra", f"{summary.get('resource_count', 0)} resources, expected {review['at_least']}"
        )

    reported = {
        (check["check_id"], f"{check['file_path'].lstrip('/')}:{check['resource'].rsplit('.', 1)[-1]}"): check
        for check in report.get("results", {}).get("failed_checks", [])
    }
    accepted: set[tuple[str, str]] = set()
    for entry in review["accepted"]:
        if not entry["reason"].strip():
            yield Finding("checkov", ACCEPTED.name, f"{entry['checks']} accepted without a reason")
        pairs = {(check, where) for check in entry["checks"] for where in entry["where"]} & reported.keys()
        for check in sorted(set(entry["checks"]) - {check for check, _ in pairs}):
            yield Finding("checkov", ACCEPTED.name, f"{check} is accepted and no longer reported")
        accepted |= pairs
    for check, where in sorted(reported.keys() - accepted):
        yield Finding("checkov", where, f"{check}: {reported[check, where]['check_name']}")


def findings(program: Path, folder: Path) -> list[Finding]:
    return list(compare(run(program, folder), yaml.safe_load(ACCEPTED.read_text())))
