"""What is known of files from the tokens of their rows."""

from __future__ import annotations

from typing import Any

import pytest

from shared.domain.findings import Findings, Place
from shared.rendering.check import TOKEN_CODES, LengthPolicy
from shared.rendering.facts import FLUSH_ROWS, TokenFacts
from tests.unit.shared.rendering import families
from tests.unit.shared.rendering.support import answer, checked


def test_facts_add_up_over_files_and_batches() -> None:
    half = FLUSH_ROWS + 20  # of the rows are dropped: more than two batches in all
    findings = Findings(TOKEN_CODES)
    facts = TokenFacts(findings, families.bundle("qwen", marked=True), LengthPolicy(60, "drop"), previews=2)
    for number in range(1, 2 * half + 1):
        row = answer("a bolt " * (100 if number % 2 else 1))
        facts.add(Place("train", number, 7 * number), row, 100, held_out=False)
    facts.add(Place("eval", 3), answer("see <|im_end|>"), 100, held_out=True)
    found = facts.finish()
    problems = {(group.code, group.file): group for group in findings.problems()}
    assert set(problems) == {("row_dropped", "train"), ("special_token_in_text", "eval")}
    dropped = problems["row_dropped", "train"]
    assert (dropped.count, dropped.rows, dropped.severity) == (
        half,
        tuple(range(1, 2 * half, 2))[: len(dropped.rows)],
        "warning",
    )
    assert len(dropped.rows) == 20
    assert dropped.offsets[:2] == (7, 21)
    assert (found.rows, found.rows_too_long, sum(found.lengths.counts)) == (half, half, half)
    assert found.tokens == half * checked(answer("a bolt ")).tokens
    assert found.eval_tokens_max == checked(answer("see <|im_end|>")).tokens
    assert [row.row for row in facts.preview] == [2, 4]


@pytest.mark.parametrize("held_out", [False, True])
def test_a_file_of_which_no_row_is_left_is_an_error(held_out: bool) -> None:
    findings = Findings(TOKEN_CODES)
    facts = TokenFacts(findings, families.bundle("qwen", marked=True), LengthPolicy(20, "drop"))
    facts.add(Place("train", 1), answer("a bolt " * 100), 100, held_out=held_out)
    facts.add(Place("train", 2), answer("a bolt " * 100), 100, held_out=held_out)
    facts.finish()
    file = "eval" if held_out else "train"
    assert [(one.code, one.file, one.count) for one in findings.problems()] == [
        ("no_row_left", file, 1),
        ("row_dropped", "train", 2),
    ]


def test_a_held_out_row_whose_prompt_is_not_served_with_its_answer_is_named() -> None:
    prompt = checked(answer("a bolt")).prompt
    findings = Findings(TOKEN_CODES)
    facts = TokenFacts(findings, families.bundle("qwen", marked=True), LengthPolicy(None, "truncate", prompt))
    longer: dict[str, Any] = answer("a bolt")
    longer["messages"][0]["content"] += " again"
    for number, row in enumerate((answer("a bolt " * 99), longer, longer), start=1):
        facts.add(Place("train", number), row, 100, held_out=number != 3)
    facts.finish()
    [found] = findings.problems()
    assert (found.code, found.severity, found.rows) == ("prompt_too_long", "error", (2,))
    assert f"more than {prompt} tokens" in found.message
