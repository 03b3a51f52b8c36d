"""`droptune rate`: which answer an expert sees where, and what the report counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cli.expert_page import ExpertDecision
from cli.rate import candidate_first, rate_task

Cli = Callable[..., int]


def rows_file(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    lines = [{"row": n, "scores": {}, "prompt": f"Part {n}?", **row} for n, row in enumerate(rows, start=1)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def row(n: int, kind: str = "x", candidate: float = 1, base: float = 0) -> dict[str, Any]:
    answers = {"candidate": f"tuned {n}", "base": f"plain {n}"}
    return {"answers": answers, "slices": {"kind": kind}, "scores": {"candidate": candidate, "base": base}}


def prefer(path: Path, reviewer: str, choices: str) -> None:
    """A letter a row: the candidate's answer, the other one, a tie, both bad, or `-` for not rated."""
    task = rate_task(path, reviewer, None)
    for one, choice in zip(task.rows, choices, strict=True):
        tuned = "AB"[[answer.split()[0] for answer in task.show(one)["answers"]].index("tuned")]
        named = {"c": tuned, "o": "AB".replace(tuned, ""), "t": "tie", "b": "both_bad", "-": "skipped"}
        task.decide(ExpertDecision(row=one, decision=named[choice]))


def report(droptune: Cli, path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Cells by group, and the lines below the table."""
    capsys.readouterr()
    assert droptune("rate", str(path), "--report") == 0
    lines = capsys.readouterr().out.splitlines()
    return {line.split()[0]: line.split()[1:] for line in lines[1:-2]}, lines[-2:]


def test_the_page_is_sent_no_name_no_score_and_no_reference(tmp_path: Path) -> None:
    path = rows_file(tmp_path, {**row(1), "reference": "the right one"})
    task = rate_task(path, "Ana", None)
    [shown] = [task.show(one) for one in task.rows]
    assert sorted(shown.pop("answers")) == ["plain 1", "tuned 1"]
    assert shown == {"prompt": [{"role": "prompt", "text": "Part 1?"}]}


def test_each_answer_is_first_on_half_of_the_rows_and_every_reviewer_has_an_order_of_their_own() -> None:
    rows = [f"row {n}" for n in range(101)]
    orders = [candidate_first(rows, reviewer) for reviewer in ("Ana", "Ben", "Cleo")]
    assert [len(order) for order in orders] == [50, 50, 50]
    assert orders[0] == candidate_first(reversed(rows), "Ana")
    for first, second in pairwise(orders):
        assert 10 < len(first & second) < 40  # 25 are expected by chance
    # No pattern by which the next one could be guessed: about half of the neighbors are equal.
    equal = sum((one in orders[0]) == (other in orders[0]) for one, other in pairwise(rows))
    assert 25 < equal < 75


def test_the_model_that_would_be_replaced_is_compared_and_equal_answers_are_not_shown(tmp_path: Path) -> None:
    three = {"answers": {"candidate": "new", "base": "old", "champion": "now"}}
    same = {"answers": {"candidate": "new", "base": "old", "champion": "new"}}
    task = rate_task(rows_file(tmp_path, three, same), "Ana", None)
    assert [sorted(task.show(one)["answers"]) for one in task.rows] == [["new", "now"]]


def test_the_report_counts_wins_by_slice_with_wilsons_interval_and_ties_apart(
    droptune: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = rows_file(tmp_path, *(row(n, "easy" if n < 5 else "hard") for n in range(8)))
    prefer(path, "Ana", "cccootb-")
    table, lines = report(droptune, path, capsys)
    assert table == {
        "all": ["7", "3", "2", "1", "1", "0.600", "0.231", "to", "0.882"],
        "kind=easy": ["5", "3", "2", "0", "0", "0.600", "0.231", "to", "0.882"],
        "kind=hard": ["2", "0", "0", "1", "1", "none", "0.000", "to", "1.000"],
    }
    assert lines[0] == "agreement: no row was rated by two reviewers"


def test_several_ratings_of_a_row_are_one_vote(
    droptune: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = rows_file(tmp_path, *map(row, range(5)))
    for reviewer, choices in {"Ana": "ccotb", "Ben": "cootb", "Cleo": "ctoco"}.items():
        prefer(path, reviewer, choices)
    table, lines = report(droptune, path, capsys)
    # Votes: c, one each (a tie), o, c (2 ties have no say), o (2 of both_bad neither).
    assert table["all"][:5] == ["5", "2", "2", "1", "0"]
    assert lines[0].startswith("agreement of 3 reviewers on 5 rows: 53.3%; Krippendorff's alpha ")


def test_two_reviewers_agree_by_cohens_kappa_on_the_rows_that_both_rated(
    droptune: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = rows_file(tmp_path, *map(row, range(52)))
    prefer(path, "Ana", "c" * 25 + "o" * 25 + "c-")
    prefer(path, "Ben", "c" * 20 + "o" * 5 + "c" * 10 + "o" * 15 + "-o")
    _, lines = report(droptune, path, capsys)
    assert lines[0] == "agreement of 2 reviewers on 50 rows: 70.0%; Cohen's kappa 0.400"


def test_graders_are_compared_with_experts_where_experts_prefer_an_answer(
    droptune: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = [(1, 0), (0, 1), (1, 0), (1, 1), (1, 0)]
    unscored = {**row(5), "unscored": True, "scores": {}}
    rows = [row(n, candidate=candidate, base=base) for n, (candidate, base) in enumerate(scores)]
    path = rows_file(tmp_path, *rows, unscored)
    prefer(path, "Ana", "cooctc")
    _, lines = report(droptune, path, capsys)
    assert lines[1] == (
        "graders prefer the experts' answer on 2 of 4 rows where experts prefer one, the other on 1, none on 1"
    )


def test_ratings_of_other_rows_are_not_counted(
    droptune: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefer(rows_file(tmp_path, row(1), row(2)), "Ana", "cc")
    table, _ = report(droptune, rows_file(tmp_path, row(1)), capsys)
    assert table["all"][0] == "1"
    assert droptune("rate", str(rows_file(tmp_path, row(3))), "--report") == 1
    assert capsys.readouterr().err == "rows.ratings.jsonl has no rating of these rows\n"


@pytest.mark.parametrize("line", ["{}", "[]", "x", '{"row":1,"scores":{},"answers":{"candidate":"a"}}'])
def test_a_file_that_is_no_evaluation_is_refused_with_its_line(
    droptune: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    path = rows_file(tmp_path, row(1))
    path.write_text(f"{path.read_text()}{line}\n")
    assert droptune("rate", str(path), "--reviewer", "Ana") == 1
    assert capsys.readouterr().err.startswith("rows.jsonl, line 2 is no row of an evaluation: ")


def test_either_a_reviewer_or_the_report_is_given(droptune: Cli, tmp_path: Path) -> None:
    path = str(rows_file(tmp_path, row(1)))
    assert droptune("rate", path) == 2
    assert droptune("rate", path, "--report", "--reviewer", "Ana") == 2


def test_a_rating_that_names_no_verdict_counts_for_nothing(
    droptune: Cli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = rows_file(tmp_path, row(1), row(2))
    prefer(path, "Ana", "cc")
    file = path.with_suffix(".ratings.jsonl")
    file.write_text(file.read_text().replace('"preferred":"candidate"', '"preferred":"Candidate"', 1))
    cells, _ = report(droptune, path, capsys)
    assert cells["all"][:5] == ["1", "1", "0", "0", "0"]
