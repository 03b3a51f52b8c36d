from __future__ import annotations

import json

from local_stack.demo.report import demo_report, shortfall
from shared.domain.evaluation import Gain
from shared.domain.run import Status
from tests.unit.cli.fake_api import BROKEN, RESULT, make_run


def test_only_a_deployed_model_that_beats_its_base_beyond_doubt_counts() -> None:
    won = make_run(Status.DEPLOYING, Status.DEPLOYED, evaluation=RESULT)
    assert shortfall(won) is None
    doubtful = RESULT.model_copy(update={"gains": (Gain(over="base", mean=0.1, low=-0.01, high=0.2),)})
    assert "is not above 0" in str(shortfall(won.evolve(evaluation=doubtful)))
    assert "without a measured gain" in str(shortfall(make_run(Status.DEPLOYED)))
    assert "failed, not deployed" in str(shortfall(make_run(Status.TRAINING, Status.FAILED)))


def test_the_report_of_a_failed_run_says_so_and_is_json() -> None:
    run = make_run(Status.RECEIVED, Status.FAILED, error=BROKEN)
    report = json.loads(json.dumps(demo_report([run], None, {"total": 3.0}, {})))
    assert report["passed"] is False
    assert report["error"]["problem"]["code"] == "no_quota"
    assert report["seconds"] == {"total": 3.0, "stages": {"received": 2.0}}


def test_a_model_that_does_not_beat_the_one_in_production_falls_short() -> None:
    gains = (*RESULT.gains, Gain(over="champion", mean=0.1, low=-0.01, high=0.2))
    run = make_run(Status.DEPLOYING, Status.DEPLOYED, evaluation=RESULT.model_copy(update={"gains": gains}))
    assert "over champion" in str(shortfall(run))
