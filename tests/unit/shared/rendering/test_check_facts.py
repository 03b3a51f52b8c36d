"""What is known of files from the tokens of their rows."""

from __future__ import annotations

from typing import Any

import pytest

from shared.domain.findings import Findings, Place
from shared.domain.recipe import Recipe
from shared.rendering.check import FLUSH_ROWS, TOKEN_CODES, LengthPolicy, TokenFacts, length_policy
from shared.rendering.rows import render_row, tokenize
from tests.unit.shared.rendering import families
from tests.unit.shared.rendering.families import ROWS
from tests.unit.shared.rendering.support import answer, checked, newlines


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


def test_each_text_of_a_row_counts_as_a_row() -> None:
    findings, bundle = Findings(TOKEN_CODES), families.bundle("mistral", marked=False)
    facts = TokenFacts(findings, bundle, LengthPolicy(None, "reject"), previews=2)
    row = ROWS["system and several turns"][0]
    for number in (1, 2):
        facts.add(Place("train", number), row, 100, held_out=False)
    facts.add(Place("train", 3), answer("A bolt."), 100, held_out=False)
    found = facts.finish()
    lengths = [len(text) for one in (row, row, answer("A bolt.")) for text in tokenize(bundle, render_row(bundle, one))]
    assert (found.rows, found.tokens, found.tokens_max) == (5, sum(lengths), max(lengths))
    assert [(one.code, one.count, one.message.count("2 of 3 rows")) for one in findings.problems()] == [
        ("template_rewrites_turns", 2, 1)
    ]
    assert [shown.row for shown in facts.preview] == [1, 1]


def test_a_held_out_row_that_is_left_out_counts_as_long_as_its_prompt_which_is_asked_all_the_same() -> None:
    facts = TokenFacts(Findings(TOKEN_CODES), families.bundle("qwen", marked=True), LengthPolicy(60, "drop"))
    long = answer("a bolt " * 100)
    long["messages"][0]["content"] *= 8
    facts.add(Place("eval", 1), answer("a bolt"), 100, held_out=True)
    facts.add(Place("eval", 2), long, 100, held_out=True)
    assert facts.finish().eval_tokens_max == checked(long).prompt > checked(answer("a bolt")).tokens


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


@pytest.mark.parametrize(
    ("long", "short", "severity"), [(0, 3, None), (1, 3, "warning"), (2, 2, "warning"), (2, 1, "error")]
)
@pytest.mark.parametrize("file", ["train", "eval"])
def test_held_out_answers_that_the_evaluation_cuts_are_said_with_the_setting_that_holds_them(
    long: int, short: int, severity: str | None, file: str
) -> None:
    longest = checked(answer("a bolt " * 40)).answer
    for limit, found in ((longest, None), (longest - 1, severity)):
        findings = Findings(TOKEN_CODES)
        policy = LengthPolicy(None, "reject", answer_limit=limit)
        facts = TokenFacts(findings, families.bundle("qwen", marked=True), policy)
        facts.add(Place("train", 90), answer("a bolt " * 200), 100, held_out=False)
        for number in range(long + short):
            facts.add(Place(file, number + 1), answer("a bolt " * (40 if number < long else 2)), 100, held_out=True)
        facts.finish()
        expected = {"warning": "some_answers_cut", "error": "answers_cut"}
        problems = findings.problems()
        assert [(one.code, one.severity, one.rows) for one in problems] == (
            [(expected[found], found, tuple(range(1, long + 1)))] if found else []
        )
        if problems:
            assert f"{long} of {long + short} have up to {longest} tokens" in problems[0].message
            assert f"evaluation.max_new_tokens to {longest}," in problems[0].fix


def test_the_longest_answer_a_recipe_allows_is_offered_where_the_longest_is_longer() -> None:
    findings = Findings(TOKEN_CODES)
    policy = LengthPolicy(None, "reject", answer_limit=256)
    facts = TokenFacts(findings, families.bundle("qwen", marked=True), policy)
    facts.add(Place("eval", 1), answer("a bolt " * 5000), 100, held_out=True)
    facts.finish()
    assert "evaluation.max_new_tokens to 4096," in findings.problems()[0].fix


@pytest.mark.parametrize(
    "row",
    [{"text": "a bolt " * 90, "item": {}}, {"messages": [{"role": "user", "content": "a bolt " * 90}], "item": {}}],
    ids=["plain text", "prompt"],
)
def test_a_row_without_an_answer_has_none_that_is_cut(row: dict[str, Any]) -> None:
    findings = Findings(TOKEN_CODES)
    facts = TokenFacts(findings, families.bundle("qwen", marked=True), LengthPolicy(None, "reject", answer_limit=4))
    facts.add(Place("eval", 1), row, 100, held_out=True)
    facts.finish()
    assert findings.problems() == ()


@pytest.mark.parametrize(("count", "code"), [(1, "some_prompt_tokens_differ"), (2, "prompt_tokens_differ")])
def test_tokens_over_the_border_of_prompt_and_answer_are_an_error_in_most_rows(count: int, code: str) -> None:
    findings = Findings(TOKEN_CODES)
    facts = TokenFacts(findings, newlines("qwen"), LengthPolicy(None, "reject"))
    for number in range(3):
        facts.add(Place("train", number + 1), answer("\n\n" * (number < count) + "a bolt"), 100, held_out=False)
    facts.finish()
    [found] = findings.problems()
    assert (found.code, found.rows) == (code, tuple(range(1, count + 1)))
    assert f"({count} of 3 rows)" in found.message


def test_the_longest_answer_is_that_of_the_evaluation() -> None:
    recipe = Recipe.model_validate({"base_model": "droptune/tiny-llama", "evaluation": {"max_new_tokens": 24}})
    assert length_policy(recipe).answer_limit == 24
