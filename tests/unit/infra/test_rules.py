"""Each rule against a copy of the real files with one thing changed: that rule speaks, and no other but those that the
change names as `also`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.gate import __main__ as gate
from tests.gate import bicep
from tests.gate.finding import RULES, check_all
from tests.paths import ROOT

FIXTURES = Path(__file__).parent / "fixtures"
CHANGES = [
    pytest.param(path.stem, change, id=f"{path.stem}-{number}")
    for path in sorted(FIXTURES.glob("*.yaml"))
    for number, change in enumerate(yaml.safe_load(path.read_text()), start=1)
]


@pytest.fixture(scope="module")
def real() -> bicep.Infra:
    return bicep.read(ROOT / "infra")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "infra", tmp_path / "infra", ignore=shutil.ignore_patterns("__pycache__", "gate"))
    shutil.copy(ROOT / "azure.yaml", tmp_path)
    return tmp_path / "infra"


def test_the_infrastructure_breaks_no_rule(real: bicep.Infra) -> None:
    assert check_all(real) == []


def test_every_rule_has_a_change_that_breaks_it() -> None:
    assert {path.stem for path in FIXTURES.glob("*.yaml")} == set(RULES)


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("rule", "change"), CHANGES)
def test_this_change_breaks_this_rule_and_no_other(
    rule: str, change: dict[str, Any], copy: Path, real: bicep.Infra
) -> None:
    file = copy / change["file"]
    before = file.read_text()
    assert before.count(change["old"]) >= 1, "the fixture no longer fits the file"
    file.write_text(before.replace(change["old"], change["new"], 1))
    changed = {change["file"]: bicep.parse(file, change["file"])} if file.suffix == ".bicep" else {}
    found = check_all(bicep.Infra(copy, real.files | changed))
    assert {finding.rule for finding in found} == {rule, *change.get("also", [])}, found
    assert all(finding.where and finding.message for finding in found)


def test_the_gate_says_one_line_a_finding_and_exits_1(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = copy / "modules" / "storage.bicep"
    file.write_text(file.read_text().replace("allowSharedKeyAccess: false", "allowSharedKeyAccess: true"))
    assert gate.main([], copy) == 1
    assert capsys.readouterr().out.splitlines() == [
        "modules/storage.bicep:10: no-storage-keys: account.allowSharedKeyAccess must be False, is True"
    ]


def test_the_gate_exits_0_and_says_what_it_did_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert gate.main([]) == 0
    rules, rights, types = capsys.readouterr().out.splitlines()
    assert rules.endswith("rules kept; checkov was not run")
    pattern = r"permissions: \d\d operations, 0 missing; \d{3} rights, \d{3} unused or wide for \d\d reasons"
    assert re.fullmatch(pattern, rights)
    pattern = r"published types: \d\d declarations and 18 bodies of the Azure ML client fit; \d\d declarations are .*"
    assert re.fullmatch(pattern, types)
