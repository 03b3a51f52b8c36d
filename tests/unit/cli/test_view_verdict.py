"""What is shown of a run that has ended."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cli.view import HAPPY_PATH, gain_line
from shared.domain.evaluation import BaselineScore, Gain, GateCheck, LabelRates, Score, Share, Verdict
from shared.domain.run import Decision, Status
from tests.unit.cli.fake_api import BROKEN, COST, RESULT, RUN_ID, START, FakeDroptune, life, make_run

Cli = Callable[..., int]


def test_watch_says_each_change_once_and_ends_with_the_verdict(
    fake: FakeDroptune, droptune: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.states = life(*HAPPY_PATH, evaluation=RESULT, cost=COST)
    assert droptune("watch", RUN_ID) == 0
    output = capsys.readouterr().out
    stages = [line.split()[2] for line in output.splitlines() if line.lstrip().startswith("+")]
    assert stages == list(HAPPY_PATH)
    assert "gain +0.800 [+0.700, +0.900] over base (95 % interval, 120 held-out rows)" in output
    assert "family = hex nut" in output
    assert "hex nut M3" in output, "the sample answer"
    assert "estimated 0.0100 to 0.0200 USD" in output


@pytest.mark.parametrize(
    ("shares", "line"),
    [
        ({"base": 1.0, "candidate": 0.125}, "answers cut at evaluation.max_new_tokens: base 100 %, candidate 12.5 %"),
        ({"base": 0.0, "candidate": 0.004}, "answers cut at evaluation.max_new_tokens: candidate 0.4 %"),
        ({"base": 0.0, "candidate": 0.0}, ""),
        ({}, ""),
    ],
)
def test_answers_that_were_cut_are_counted_where_there_are_some(shares: dict[str, float], line: str) -> None:
    result = RESULT.model_copy(update={"answers_at_limit": shares})
    assert "".join(gain_line(make_run(*HAPPY_PATH), result).split("\n")[1:]) == line


def test_baselines_stand_below_the_models(
    fake: FakeDroptune, droptune: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    gain = Gain(over="nearest_neighbor", mean=0.5, low=0.4, high=0.6)
    score = Score(mean=0.4321, low=0.4, high=0.5, rows=120)
    baselines = (BaselineScore(name="nearest_neighbor", score=score, gain=gain),)
    fake.states = life(*HAPPY_PATH, evaluation=RESULT.model_copy(update={"baselines": baselines}), cost=COST)
    assert droptune("watch", RUN_ID) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if "nearest neighbor" in line]
    assert "0.432" in line


def test_watch_says_why_a_run_failed(fake: FakeDroptune, droptune: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    fake.states = life(Status.RECEIVED, Status.FAILED, error=BROKEN)
    assert droptune("watch", RUN_ID) == 12
    assert "quota: no_quota: no cores left (instance_type)" in capsys.readouterr().out


def test_watch_shows_the_numbers_of_a_run_that_waits_and_how_to_decide(
    fake: FakeDroptune, droptune: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = {"evaluation": RESULT}
    waiting = make_run(*HAPPY_PATH[:4], Status.AWAITING_APPROVAL, **numbers)
    decision = Decision(granted=False, by="ada", at=START, comment="it is too curt")
    denied = make_run(*HAPPY_PATH[:4], Status.AWAITING_APPROVAL, Status.DECLINED, **numbers, decision=decision)
    fake.states = [*life(*HAPPY_PATH[:4]), waiting, denied]
    assert droptune("watch", RUN_ID) == 11
    output = capsys.readouterr().out
    before, after = output.split("the run waits for a decision; without one it is declined at 20")
    assert "awaiting_approval" in before
    assert "0.850 to 0.950" in before
    assert "gain +0.800 [+0.700, +0.900] over base" in before
    assert f"droptune approve {RUN_ID}    or    droptune deny {RUN_ID} -m WHY" in after
    assert output.count("the run waits for a decision") == 1
    assert "denied by ada: it is too curt" in after


@pytest.mark.parametrize("granted", [True, False])
def test_watch_names_everybody_who_decided(
    fake: FakeDroptune, droptune: Cli, capsys: pytest.CaptureFixture[str], granted: bool
) -> None:
    ada, bob = (Decision(granted=True, by=name, by_id=name, at=START, comment=f"of {name}") for name in ("ada", "bob"))
    carl = Decision(granted=False, by="carl", by_id="carl", at=START)
    decided = {"approvals": (ada, bob), "decision": bob} if granted else {"approvals": (ada,), "decision": carl}
    fake.states = [make_run(*HAPPY_PATH, **decided)]
    assert droptune("watch", RUN_ID) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if " by " in line]
    assert lines == ["approved by ada: of ada", "approved by bob: of bob" if granted else "denied by carl"]


def test_the_rates_and_pairs_of_the_tuned_model_are_lines_of_their_own() -> None:
    few, most = Share(hits=1, rows=4, low=0.046, high=0.699), Share(hits=3, rows=4, low=0.301, high=0.954)
    base = LabelRates(grader="triage", label="urgent", sensitivity=few, specificity=few)
    tuned = LabelRates(grader="triage", label="urgent", sensitivity=most, specificity=None)
    rates, pairs = {"base": (base,), "candidate": (tuned,)}, {"base": few, "candidate": most}
    result = RESULT.model_copy(update={"rates": rates, "pairs": pairs})
    assert gain_line(make_run(*HAPPY_PATH), result).split("\n")[1:] == [
        "triage: urgent: sensitivity 0.750 [0.301, 0.954], 3 of 4",
        "pairs answered alike: 0.750 [0.301, 0.954], 3 of 4",
    ]


CHECKS = (
    GateCheck(name="min_rows", passed=True, detail="120 of 20"),
    GateCheck(name="general:ability", passed=True, detail="the base scores 0.1", skipped=True),
    GateCheck(name="gain_over_lookup", passed=False, detail="no baselines", skipped=True),
)


@pytest.mark.parametrize("end", [HAPPY_PATH[4:], (Status.AWAITING_APPROVAL,)])
def test_checks_that_were_skipped_are_a_line_with_their_reasons(
    fake: FakeDroptune, droptune: Cli, capsys: pytest.CaptureFixture[str], end: tuple[Status, ...]
) -> None:
    known = {"evaluation": RESULT, "verdict": Verdict(passed=True, checks=CHECKS)}
    denied = make_run(*HAPPY_PATH[:4], *end, Status.DECLINED) if Status.AWAITING_APPROVAL in end else None
    fake.states = [make_run(*HAPPY_PATH[:4], *end, **known), *([denied] if denied else [])]
    droptune("watch", RUN_ID)
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count("skipped: general:ability: the base scores 0.1; gain_over_lookup: no baselines") == 1
    assert "120 of 20" not in shown
