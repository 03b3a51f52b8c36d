"""Every ready recipe: its files are what its generator writes, they pass, and they keep the held-out set apart."""

from __future__ import annotations

import json
import re
import runpy
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from typer.testing import CliRunner

from cli.main import app
from local_stack.tiny_base.shipped import WEIGHTS
from recipes import __main__ as recipes
from shared.domain import prompts
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Reinforcement, ResolvedReinforcement
from shared.grading.engine import Engine
from tests.paths import ROOT
from tests.unit.recipes.ready import DROPS, FULL, NAMES, RECIPES, SMALL, Row, generator, prompt_of, recipe_of, rows_of

EACH_DROP = pytest.mark.parametrize("part", DROPS, ids=lambda part: str(part.relative_to(RECIPES)))


def test_the_three_cases_and_the_part_codes_have_a_recipe() -> None:
    plant = ["manufacturing", "manufacturing-failure-small", "manufacturing-repair-small"]
    assert ["finance-audit-small", "finance-small", "healthcare-small", *plant] == SMALL
    assert FULL == ["finance", "finance-audit", "healthcare", "manufacturing-failure", "manufacturing-repair"]


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_files_are_what_the_generator_writes(name: str, tmp_path: Path) -> None:
    recipes.main([name, str(tmp_path)])
    committed = sorted(
        path.relative_to(RECIPES / name)
        for path in (RECIPES / name).rglob("*.jsonl")
        if path.name != "wrong_answers.jsonl"
    )
    assert committed == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.jsonl"))
    for file in committed:
        assert (RECIPES / name / file).read_bytes() == (tmp_path / file).read_bytes(), file


@pytest.mark.parametrize("script", sorted(RECIPES.glob("*/compare.py")), ids=lambda one: one.parent.name)
@pytest.mark.parametrize("option", ["--help", "-h", "--shuffle"])
def test_a_script_shows_its_use_for_an_option_and_writes_nothing(
    script: Path, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script), option])
    runpy.run_path(str(script), run_name="__main__")
    assert f"python recipes/{script.parent.name}/{script.name}" in capsys.readouterr().out
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), ([], 2), (["finance", "--shuffle"], 2), (["x"], 2)])
def test_the_generators_show_their_use_and_write_nothing(
    arguments: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recipes, "HERE", tmp_path)
    with pytest.raises(SystemExit) as ended:
        recipes.main(arguments)
    assert ended.value.code == code
    shown = capsys.readouterr()
    assert "usage: python -m recipes" in shown.out + shown.err
    assert [*tmp_path.iterdir()] == []


# What the validator finds, and why it stays: part codes are facts to look up, and the demo tunes on them because they
# are quick to learn; rows of the others are alike because people ask alike. All small ones fill in templates.
FOUND = {
    "manufacturing": {"ignored_field", "fact_lookup"},
    "healthcare-small": {"ignored_field"},
    "healthcare": {"personal_data_allowed", "ignored_field"},
    "finance": {"near_duplicate"},
    "finance/2-reinforcement": {"near_duplicate"},
    "finance-audit": {"ignored_field"},
    "manufacturing-repair": {"near_duplicate", "train_eval_near_duplicate"},
    "manufacturing-failure": {"near_duplicate", "ignored_field", "rare_label", "label_not_held_out"},
    "manufacturing-failure-small": {"near_duplicate", "train_eval_near_duplicate", "ignored_field"},
}


@pytest.mark.few_cases(3)
@EACH_DROP
def test_the_data_passes_the_validator_without_a_problem(part: Path) -> None:
    files = ["train.jsonl", "recipe.yaml"]
    command = ["validate", str(part / files[0]), "--recipe", str(part / files[1]), "--eval", str(part / "eval.jsonl")]
    ended = CliRunner().invoke(app, [*command, "--json"])
    assert ended.exit_code == 0, ended.output
    report = json.loads(ended.stdout)
    assert report["passed"]
    name = str(part.relative_to(RECIPES))
    is_unguarded = recipe_of(part).evaluation.gate.gain_over_lookup is None
    found = {"held_out_recombination"} if name.split("/")[0] in SMALL and is_unguarded else set()
    assert {problem["code"] for problem in report["problems"]} == found | FOUND.get(name, set())


@EACH_DROP
def test_no_held_out_question_occurs_in_training(part: Path) -> None:
    held_out = {prompt_of(row) for row in rows_of(part / "eval.jsonl")}
    assert len(held_out) >= 100
    assert not held_out & {prompt_of(row) for row in rows_of(part / "train.jsonl")}


def split_of(name: str) -> list[tuple[Row, ...]]:
    """Training and held-out rows of a recipe's first drop."""
    return [tuple(rows_of(RECIPES / name / f"{part}.jsonl")) for part in ("train", "eval")]


@pytest.mark.parametrize(
    ("name", "fields"), [("healthcare-small", ["acronyms"]), ("manufacturing-repair-small", ["machine", "fault"])]
)
def test_no_held_out_case_occurs_in_training_and_all_its_parts_do(name: str, fields: list[str]) -> None:
    train, held_out = split_of(name)
    cases = [{json.dumps([row[field] for field in fields]) for row in rows} for rows in (train, held_out)]
    assert not cases[0] & cases[1]
    parts = [
        {part for row in rows for field in fields for part in (row[field] if field == "acronyms" else [row[field]])}
        for rows in (train, held_out)
    ]
    assert parts[1] <= parts[0]


def item_of(row: Row, answer: str) -> Row:
    """The fields graders read."""
    return {**row, "answer": answer, **prompts.prompt_of(row).item()}


# A reference that gives a probability is no certain answer, so it earns less than 1 where the less likely happened.
UNCERTAIN = ["finance-audit", "manufacturing-failure", "manufacturing-failure-small"]


@pytest.mark.parametrize("name", UNCERTAIN)
def test_references_that_are_probabilities_pass_the_recipes_own_floor(name: str) -> None:
    rows, recipe = rows_of(RECIPES / name / "eval.jsonl"), recipe_of(RECIPES / name)
    answers = [row["messages"][-1]["content"] for row in rows]
    with Engine(recipe.evaluation.graders) as engine:
        grades = engine.grade(answers, [item_of(row, answer) for row, answer in zip(rows, answers, strict=True)])
    scores = [grade.score for grade in grades]
    assert None not in scores
    assert sum(filter(None, scores)) / len(scores) > recipe.evaluation.gate.min_score


@pytest.mark.parametrize("name", [name for name in NAMES if name not in UNCERTAIN])
def test_every_reference_answer_earns_full_marks_and_another_rows_answer_does_not(name: str) -> None:
    rows = rows_of(RECIPES / name / "eval.jsonl")
    answers = [row["messages"][-1]["content"] for row in rows]
    items = [item_of(row, answer) for row, answer in zip(rows, answers, strict=True)]
    with Engine(recipe_of(RECIPES / name).evaluation.graders) as engine:
        assert {grade.score for grade in engine.grade(answers, items)} == {1.0}
        others = [grade.score for grade in engine.grade(answers[7:] + answers[:7], items)]
    assert all(score is not None for score in others)
    assert sum(score == 1.0 for score in others) < 0.1 * len(others)


def rewards(cases: list[tuple[str, Row]]) -> list[float]:
    """What the second drop of finance-small gives for answers to rows."""
    method = recipe_of(RECIPES / "finance-small" / "2-reinforcement").method
    assert isinstance(method, Reinforcement)
    with Engine(method.graders) as engine:
        return [grade.score or 0.0 for grade in engine.grade(*map(list, zip(*cases, strict=True)))]


def test_a_citation_earns_nothing_outside_a_whole_letter_with_as_many_reasons_as_are_due() -> None:
    bank = generator("finance-small")
    case = ("car loan", "3000", ("THIN", "DTI"), bank.LETTERS[0])
    right, filed = bank.letter(case, {}, bank.PLAIN), bank.letter(case, bank.OLD_RULES, bank.FORMAL)
    decayed = [right.replace(*words) for words in (("your debts are", "youm"), ("LD-220", "LD-250"), ("short", "shor"))]
    one, three = (
        bank.letter((*case[:2], grounds, case[3]), {}, bank.PLAIN) for grounds in (("THIN",), ("THIN", "DTI", "DLQ"))
    )
    answers = [right, filed, right + " LD-220", "LD-220 LD-210", right.replace("car", "home"), *decayed, one, three]
    earned = rewards([(answer, bank.denial(case, right)) for answer in answers])
    assert earned == pytest.approx([1.0, 0.45, *[0.0] * 8])


def test_every_reason_earns_the_full_reward_in_its_own_words_and_less_with_its_old_rule_or_in_the_old_tone() -> None:
    bank = generator("finance-small")
    for ground in bank.GROUNDS:
        case = ("car loan", "3000", (ground,), bank.LETTERS[0])
        rules = [{}, bank.OLD_RULES] if ground in bank.OLD_RULES else [{}]
        answers = [bank.letter(case, old, closing) for old in rules for closing in (bank.PLAIN, bank.FORMAL)]
        expected = [1.0, 0.8, 0.3, 0.1][: len(answers)]
        assert rewards([(answer, bank.denial(case, "")) for answer in answers]) == pytest.approx(expected)


def test_every_letter_on_file_and_every_right_one_fits_what_the_second_drop_samples() -> None:
    method = recipe_of(RECIPES / "finance-small" / "2-reinforcement").method
    assert isinstance(method, Reinforcement)
    limit = method.hyperparameters.max_new_tokens
    letters = [row["messages"][1]["content"] for rows in split_of("finance-small") for row in rows]
    assert isinstance(limit, int)
    assert max(len(Tokenizer.from_file(str(WEIGHTS / "tokenizer.json")).encode(text)) for text in letters) < limit


@EACH_DROP
def test_the_recipe_is_valid_and_reads_fields_the_rows_have(part: Path) -> None:
    recipe = recipe_of(part)
    assert (recipe.base_model == "droptune/tiny-llama") == (part.relative_to(RECIPES).parts[0] in SMALL)
    rows = rows_of(part / "eval.jsonl")
    assert all(field in row for row in rows for field in recipe.evaluation.slices)
    assert len(rows) >= recipe.evaluation.gate.min_rows


REAL = [part for part in DROPS if part.relative_to(RECIPES).parts[0] in FULL]


@pytest.mark.parametrize("part", REAL, ids=lambda part: str(part.relative_to(RECIPES)))
def test_every_drop_for_a_real_base_has_a_plan_on_one_gpu_that_holds_its_answers(part: Path) -> None:
    lines = (part / "train.jsonl").read_text(encoding="utf-8").splitlines()
    recipe = recipe_of(part)
    longest = max(map(len, lines))
    planned = resolve(recipe, "demo", train_rows=len(lines), characters_max=longest)
    assert planned.training_instance_type == "Standard_NC24ads_A100_v4"
    answers = [message["content"] for row in rows_of(part / "eval.jsonl") for message in row["messages"]]
    assert planned.hyperparameters.max_length_tokens >= max(map(len, answers)) / 3.6
    if isinstance(planned.hyperparameters, ResolvedReinforcement):
        assert planned.hyperparameters.max_new_tokens == recipe.evaluation.max_new_tokens


def test_a_second_drop_of_the_letters_has_no_letters_and_rewards_by_the_graders_of_the_evaluation() -> None:
    part = RECIPES / "finance" / "2-reinforcement"
    recipe = recipe_of(part)
    assert isinstance(recipe.method, Reinforcement)
    assert recipe.method.continue_from == "champion"
    evaluated = recipe_of(RECIPES / "finance").evaluation.graders
    assert recipe.evaluation.graders == evaluated
    shared = [
        grader.model_copy(update={"veto": True}) if grader.name != "plain_words" else grader for grader in evaluated
    ]
    rewards = recipe.method.graders
    assert [one.model_copy(update={"veto": each.veto}) for one, each in zip(rewards, shared, strict=True)] == shared
    roles = {
        message["role"]
        for file in ("train", "eval")
        for row in rows_of(part / f"{file}.jsonl")
        for message in row["messages"]
    }
    assert roles == {"system", "user"}
    books = [
        {row["messages"][0]["content"] for row in rows_of(file / "train.jsonl")} for file in (RECIPES / "finance", part)
    ]
    assert books[0].isdisjoint(books[1])


def test_an_applicant_may_be_named_as_a_prohibited_basis() -> None:
    row = next(row for row in rows_of(RECIPES / "finance" / "eval.jsonl") if row["kind"] == "denial")
    answer = row["messages"][-1]["content"].replace(row["name"], "Faith Young")
    with Engine(recipe_of(RECIPES / "finance").evaluation.graders) as engine:
        [grade] = engine.grade([answer], [item_of(row, answer) | {"name": "Faith Young"}])
    assert grade.score == 1.0


def bookings() -> tuple[list[Row], list[Row]]:
    """Training and held-out bookings; `day`, `amount`, `limit` as the record shows them, `signs` as the answer does."""
    train, held_out = map(list, split_of("finance-audit"))
    for row in train + held_out:
        text = row["messages"][1]["content"]
        [row["day"]] = re.findall(r"\d{4}-\d\d-\d\d", text)
        numbers = re.findall(r"[\d,]+\.\d\d", text) + re.findall(r"(?:limit|of max) ([\d,]+\d)", text)
        row["amount"], row["limit"] = (float(number.replace(",", "")) for number in numbers)
        row["signs"] = re.findall(r"N\d+", row["messages"][2]["content"])
    return train, held_out


def test_no_training_booking_is_as_late_as_a_held_out_one() -> None:
    train, held_out = bookings()
    assert max(row["day"] for row in train) < min(row["day"] for row in held_out)


def test_an_amount_is_called_just_below_the_limit_where_the_record_shows_it() -> None:
    for row in [row for rows in bookings() for row in rows]:
        assert ("N5" in row["signs"]) == (0.95 * row["limit"] <= row["amount"] < row["limit"])


def engine_score(row: Row) -> float:
    return min(1.0, int(re.findall(r"engine (\d+)", row["messages"][1]["content"])[0]) / 100)


# Models that are right about every sign and know no more of fraud than the share, or the rule engine.
PLANTED = {f"always {risk}": lambda row, risk=risk: risk for risk in (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)} | {
    "the engine's score": engine_score,
    "the engine's flag": lambda row: 0.6 if row["engine_flag"] else 0.05,
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("name", PLANTED)
def test_a_model_that_knows_no_more_than_the_share_of_fraud_or_the_engine_is_below_the_gates_score(name: str) -> None:
    recipe, rows = recipe_of(RECIPES / "finance-audit"), rows_of(RECIPES / "finance-audit" / "eval.jsonl")
    answers = [re.sub(r"Risk: \S+", f"Risk: {PLANTED[name](row):.2f}", row["messages"][-1]["content"]) for row in rows]
    with Engine(recipe.evaluation.graders) as engine:
        grades = engine.grade(answers, [item_of(row, answer) for row, answer in zip(rows, answers, strict=True)])
    assert sum(grade.score or 0 for grade in grades) / len(grades) < recipe.evaluation.gate.min_score


def test_most_letters_on_file_cite_the_old_rule_where_there_is_one() -> None:
    bank = generator("finance-small")
    letters = rows_of(RECIPES / "finance-small" / "train.jsonl")
    texts = [row["messages"][1]["content"] for row in letters]
    for ground, old in bank.OLD_RULES.items():
        cited = [sum(rule in text for text in texts) for rule in (old, bank.GROUNDS[ground][1])]
        assert 0.5 < cited[0] / sum(cited) < 0.85
    assert all(set(row["cites"]).isdisjoint(bank.OLD_RULES.values()) for row in letters)


def test_a_fraud_flag_needs_two_red_signs() -> None:
    auditors = generator("finance-audit-small")
    for row in rows_of(RECIPES / "finance-audit-small" / "eval.jsonl"):
        red = [sign for sign in auditors.RED_SIGNS if sign in row["messages"][0]["content"]]
        assert row["flag"] == ("fraud" if len(red) == 2 else "none")


def test_the_triage_follows_the_policy_and_a_grave_finding_outweighs_the_complaint() -> None:
    clinic = generator("healthcare-small")
    assert clinic.triage("UTI", "VSS") == "routine"
    assert clinic.triage("UTI", "FUO") == "urgent"
    assert clinic.triage("UTI", "AMS") == clinic.triage("CP", "VSS") == "emergency"


@pytest.mark.parametrize("name", NAMES)
def test_every_readme_says_that_its_data_is_made_up(name: str) -> None:
    text = (ROOT / "recipes" / name / "README.md").read_text(encoding="utf-8")
    assert "made up" in text or "synthetic" in text


def test_two_rows_of_a_training_set_never_ask_the_same() -> None:
    for part in DROPS:
        questions = sorted(prompt_of(row) for row in rows_of(part / "train.jsonl"))
        assert not [one for one, next_one in pairwise(questions) if one == next_one], part
