"""The ready packs of docs/reference/graders.md, as they stand there."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from shared.domain.graders import NOT_BUILT, Grader
from shared.grading.engine import Engine, problems
from shared.grading.errors import GradingErrorCode
from shared.grading.llm_judge import JudgeReply
from tests.paths import ROOT

TEXT = (ROOT / "docs" / "reference" / "graders.md").read_text(encoding="utf-8")
READ = TypeAdapter(list[Grader]).validate_python


def packs() -> dict[str, list[Grader]]:
    """By the name of the first grader of each example."""
    found = {}
    for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL):
        read = yaml.safe_load(block)
        graders = READ(read.get("evaluation", read)["graders"])
        found[graders[0].name] = graders
    return found


@pytest.mark.parametrize(
    ("pack", "item", "right", "wrong"),
    [
        ("exact", {"answer": "M5"}, "M5", "M6"),
        ("citations", {"citations": ["12 CFR 1002.9(a)"]}, "By 12 CFR 1002.9(a).", "By 12 CFR 1002.4."),
        ("structure", {"level": "urgent"}, '{"level": "urgent", "reason": "pain"}', "urgent"),
        (
            "plain_words",
            {"answer": "Take one tablet a day."},
            "Take one tablet a day.",
            "Pharmacotherapeutic administration necessitates individualization.",
        ),
        ("refusal", {"refuse": True}, "I can't help with that.", "Mix the two."),
        ("not_too_low", {"level": "urgent", "answer": "Urgent."}, "Urgent.", "Routine."),
        ("facts_stated", {"facts": {"drugs": ["aspirin"]}}, '{"drugs": "Aspirin"}', '{"drugs": ["aspirin", "x"]}'),
        ("grounded", {"messages": {"user": "HR 64"}}, "64", "88 by Jane Doe"),
        ("no_identifier", {"identifiers": ["Jane Doe"]}, "She is well.", "Ms. Jane Doe, on welfare"),
        (
            "reason_with_its_rule",
            {"reasons": [["your job is too new", "LD-260"]], "amounts": [8000]},
            "No $8,000.00: your job is too new (LD-260)",
            "No 9000: your faith (LD-260)",
        ),
        ("chance", {"failed": 1}, "chance 100 %", "chance 0"),
        ("order", {"machine": "Unit 4:", "steps": ["stop", "lock"]}, "Unit 4: 1. Stop. 2. Lock.", "1. Lock. 2. Stop."),
    ],
)
def test_a_documented_pack_grades_a_right_answer_1_and_a_wrong_one_0(
    pack: str, item: dict[str, Any], right: str, wrong: str
) -> None:
    graders = packs().pop(pack)
    assert problems(graders, "graders") == []
    with Engine(graders) as engine:
        assert [grade.score for grade in engine.grade([right, wrong], [item, item])] == [1, 0]


def test_every_documented_pack_is_tried_here() -> None:
    [cases] = [mark.args[1] for mark in test_a_documented_pack_grades_a_right_answer_1_and_a_wrong_one_0.pytestmark]
    assert set(packs()) == {"helpful", *(case[0] for case in cases)}


def test_the_documented_judge_grades_by_the_place_in_its_range() -> None:
    graders = packs()["helpful"]
    assert problems(graders, "graders") == []
    with Engine(graders, lambda endpoint, messages, read: JudgeReply(4.0, "")) as engine:
        assert engine.grade(["x"], [{"question": "?", "answer": "y"}])[0].score == 0.75


def test_the_table_names_every_type_and_what_is_not_built() -> None:
    schema = TypeAdapter(Grader).json_schema()
    for kind in schema["discriminator"]["mapping"]:
        assert f"| `{kind}` |" in TEXT
    for kind in NOT_BUILT:
        assert f"`{kind}`" in TEXT


def test_every_code_of_a_grader_and_of_a_judge_is_documented_and_no_other() -> None:
    for code in GradingErrorCode:
        assert f"| `{code.value}` |" in TEXT
    sources = (
        "shared/step_support/llm_judges",
        "training_job/evaluation/judges",
        "training_job/evaluation/scoring",
        "training_job/methods/rewards",
        "cli/validate",
    )
    source = "".join((ROOT / f"{name}.py").read_text() for name in sources)
    raised = set(re.findall(r"\bjudge_(?:not|without|is|un|needs)_?\w+|\bno_judges\b|\bno_identity\b", source))
    assert raised == set(re.findall(r"^\| `(judge_\w+|no_\w+)` \|", TEXT, re.MULTILINE))
