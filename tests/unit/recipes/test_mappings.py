"""Each mapping of public data, on a sample made up here with the columns of its source."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.mapping import Left, mapped, read_mapping
from cli.sources import records_of
from tests.paths import ROOT

MAPPINGS = ROOT / "recipes" / "mappings"
HMDA = (
    "action_taken,loan_amount,income,debt_to_income_ratio,loan_to_value_ratio,denial_reason-1,denial_reason-2,"
    "denial_reason-3,denial_reason-4,applicant_sex\n"
)
SAMPLES = {
    "aci-bench": (
        "a.csv",
        'dataset,encounter_id,dialogue,note\nvirtassist,D1,"[doctor] hi\n[patient] my knee","CC\nknee pain"\n',
        ["CC\nknee pain"],
    ),
    "cfpb": (
        "a.csv",
        "Date received,Product,Issue,Consumer complaint narrative\n"
        "01/02/2024,Mortgage,Trouble paying,They lost my papers\n01/03/2024,Mortgage,Trouble paying,\n",
        ["Mortgage: Trouble paying"],
    ),
    "hmda": (
        "a.csv",
        HMDA + "3,205000,40,55,95,1,4,,,2\n1,205000,90,30,80,10,,,,1\n3,95000,NA,NA,NA,10,,,,1\n",
        ["Debt-to-income ratio, Collateral"],
    ),
    "excavators": (
        "a.csv",
        "BscStartDate,Asset,OriginalShorttext,PMType,Cost\n2004-01-01,A,fit hose,PM01,1\n2005-02-01,A,OIL LEAK,PM01,2\n"
        "2005-02-20,A,REPLACE BUCKET TOOTH,PM01,3\n2005-04-01,B,wash,PM01,0\n",
        ["yes", "no"],
    ),
    "maintnorm": (
        "a.norm",
        "REPL\treplace\nHYD\thydraulic\nHOSE\those\n\nWELD\tweld\n",
        ["replace hydraulic hose", "weld"],
    ),
}


def test_every_mapping_has_a_sample_and_a_row_in_the_readme() -> None:
    names = sorted(path.stem for path in MAPPINGS.glob("*.yaml"))
    assert names == sorted(SAMPLES)
    readme = (MAPPINGS / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in readme for name in names)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_mapping_of_public_data_gives_the_rows_it_says(name: str, tmp_path: Path) -> None:
    file, content, answers = SAMPLES[name]
    (tmp_path / file).write_text(content)
    mapping = read_mapping(MAPPINGS / f"{name}.yaml")
    rows = [row for row in mapped(mapping, records_of(tmp_path / file, mapping)) if not isinstance(row, Left)]
    assert [row["messages"][-1]["content"] for row in rows] == answers
    assert all("sex" not in str(row) for row in rows)
