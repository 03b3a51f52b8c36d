"""The live picture of a run, and the parts that other views share."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from rich.console import Console

from cli.follow import Update
from cli.view import DETOURS, HAPPY_PATH, live, seconds, stage_detail, stage_seconds, stages
from shared.api.models import Progress
from shared.domain.results import JobMetrics
from shared.domain.run import Status
from tests.paths import ROOT
from tests.unit.cli.fake_api import RESULT, RUN_ID, START, FakeDroptune, make_run

TRAINING = make_run(Status.RECEIVED, Status.VALIDATED, Status.TRAINING)


def rendered(update: Update) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(live(update, now=START + timedelta(seconds=9)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_live_picture_has_stages_progress_and_curve() -> None:
    progress = Progress(step=3, total_steps=9, eta_s=6.0)
    picture = rendered(Update(TRAINING, ((0, 4.0), (3, 1.0)), progress))
    assert "✔  received" in picture
    assert "●  training    5.0 s" in picture
    assert "step 3/9, 6.0 s left" in picture
    assert "4 ┤" in picture, "the curve"
    assert "deployed" in picture, "what lies ahead"


def test_the_live_picture_of_a_run_that_waits_says_how_to_decide() -> None:
    waiting = make_run(Status.EVALUATING, Status.AWAITING_APPROVAL, evaluation=RESULT)
    picture = rendered(Update(waiting))
    assert "●  awaiting_approval" in picture
    assert "gain +0.800" in picture
    assert f"droptune approve {RUN_ID}" in picture
    assert "deployed" in picture, "what lies ahead"
    assert "evaluating" not in picture.split("awaiting_approval")[1], "that is over"


def test_a_training_stage_says_what_its_curve_showed() -> None:
    counts = {
        "processed_tokens": 1000,
        "last_step": 9,
        "train_loss": 0.5,
        "eval_loss": 0.9,
        "seconds": 3.0,
        "dropped_rows": 0,
    }
    plain = make_run(Status.TRAINING, training=JobMetrics(**counts))
    overfit = make_run(Status.TRAINING, training=JobMetrics(**counts, diagnosis=("Overfit.", "Stopped early.")))
    assert stage_detail(plain, Status.TRAINING) == "9 steps, 1,000 tokens processed"
    assert stage_detail(overfit, Status.TRAINING) == "9 steps, 1,000 tokens processed. Overfit. Stopped early."


def test_the_live_picture_says_that_the_api_is_away() -> None:
    assert "trying again" in rendered(Update(TRAINING, reachable=False))


def test_steps_of_one_rollout_are_one_stage() -> None:
    run = make_run(Status.APPROVED, Status.DEPLOYING, Status.DEPLOYING, Status.DEPLOYED)
    assert [line.status for line in stages(run)] == ["approved", "deploying", "deployed"]
    assert [spent for _, spent in stage_seconds(run)] == [2.0, 4.0, 0.0]


def test_every_note_of_a_stage_is_shown() -> None:
    run = make_run(Status.DEPLOYING, Status.ROLLING_BACK, Status.ROLLING_BACK, Status.ROLLED_BACK)
    notes = ("10 % of the traffic", "not_answering: 5 of 5 requests failed", "the traffic is back", "")
    history = [line.model_copy(update={"note": note}) for line, note in zip(run.history, notes, strict=True)]
    picture = rendered(Update(run.model_copy(update={"history": tuple(history)})))
    assert [note for note in notes if note not in picture] == []


def test_a_rollback_after_the_end_does_not_lengthen_the_run() -> None:
    run = make_run(Status.DEPLOYING, Status.DEPLOYED, Status.DEPLOYED)
    assert [(line.status, spent) for line, spent in stage_seconds(run)] == [("deploying", 2.0), ("deployed", 0.0)]
    assert run.ended_at == run.history[1].at < run.updated_at


@pytest.mark.parametrize(
    ("value", "text"), [(0.84, "0.8 s"), (42.4, "42 s"), (185, "3 min 05 s"), (7620, "2 h 07 min")]
)
def test_durations_read_well(value: float, text: str) -> None:
    assert seconds(value) == text


def test_the_dashboard_has_the_same_path_of_statuses() -> None:
    source = (ROOT / "functions/http/static/timeline.js").read_text()
    path = re.search(r"const HAPPY_PATH = (\[.*?\]);", source, re.DOTALL)
    beside = re.search(r"const BESIDE_IT = (\{.*?\});", source, re.DOTALL)
    assert path
    assert beside
    assert json.loads(path[1]) == list(HAPPY_PATH)
    assert json.loads(re.sub(r"(\w+):", r'"\1":', beside[1])) == DETOURS


Cli = Callable[..., int]


Capture = pytest.CaptureFixture[str]


def test_the_list_of_runs_shows_which_one_waits(fake: FakeDroptune, droptune: Cli, capsys: Capture) -> None:
    fake.states = [make_run(Status.EVALUATING, Status.AWAITING_APPROVAL)]
    assert droptune("runs") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == [RUN_ID, "plant", "awaiting_approval"]
