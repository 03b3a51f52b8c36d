"""A job's judges over real HTTP: busy, silent, slow, refusing; and an evaluation that asks one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.evaluation import EvaluationResult, JudgeEndpoint, Judges
from shared.domain.graders import Grader
from shared.grading.engine import Engine, Grade
from shared.grading.errors import GradingErrorCode
from tests.judge_server import JudgeServer, Reply, serve_judge
from training_job.evaluation import judges
from training_job.evaluation.judges import Panel, read_judges
from training_job.job import runtime
from training_job.methods.rewards import Rewards

SPEC = {
    "name": "tone",
    "type": "score_model",
    "endpoint": "judge",
    "input": [{"role": "user", "content": "Grade: {{sample.output_text}}"}],
}
GRADER: Grader = TypeAdapter(Grader).validate_python(SPEC)
GOOD = Reply('{"score": 1, "reason": "right"}')


def panel(server: JudgeServer, kept: Path | None = None, timeout_s: float = judges.TIMEOUT_S) -> Panel:
    return Panel((server.endpoint(),), kept, lambda: "of-the-job", timeout_s=timeout_s, first_wait_s=0.01)


def grades(requests: Panel, *texts: str) -> list[Grade]:
    with Engine([GRADER], requests) as engine:
        return engine.grade(list(texts), [{}] * len(texts))


def in_turn(*replies: Reply) -> Callable[[str], Reply]:
    left = list(replies)
    return lambda prompt: left.pop(0) if len(left) > 1 else left[0]


def test_a_judge_is_asked_greedily_at_one_deployment_with_the_jobs_token() -> None:
    with serve_judge(lambda prompt: GOOD) as server:
        [grade] = grades(panel(server), "yes")
    [(body, headers)] = server.requests
    assert (grade.score, grade.reasons) == (1.0, {"tone": "right"})
    assert (body["temperature"], body["max_tokens"], "model" in body) == (0, 512, False)
    assert (headers["authorization"], headers["azureml-model-deployment"]) == ("Bearer of-the-job", "blue")


def test_never_more_than_eight_requests_are_under_way() -> None:
    with serve_judge(lambda prompt: Reply(after_s=0.05)) as server:
        found = grades(panel(server), *(f"answer {n}" for n in range(40)))
    assert [grade.score for grade in found] == [1.0] * 40
    assert 1 < server.at_once <= 8


@pytest.mark.parametrize(
    "busy",
    [
        Reply(status=429, headers={"retry-after": "0"}),
        Reply(status=503),
        Reply(status=408),
        Reply(status=424),
        Reply(status=424, headers={"ms-azureml-model-error-statuscode": "429"}),
    ],
)
def test_a_busy_judge_is_asked_again(busy: Reply) -> None:
    with serve_judge(in_turn(busy, busy, GOOD)) as server:
        [grade] = grades(panel(server), "yes")
    assert (grade.score, len(server.requests)) == (1.0, 3)


def test_a_slow_judge_is_given_up_after_five_tries() -> None:
    with serve_judge(lambda prompt: Reply(after_s=0.4)) as server:
        [grade] = grades(panel(server, timeout_s=0.1), "yes")
    assert (grade.score, grade.errors[0].code, len(server.requests)) == (None, GradingErrorCode.JUDGE_SERVER, 5)
    assert grade.errors[0].message == "judge judge: ReadTimeout, 5 times"


@pytest.mark.parametrize(
    "refusal",
    [Reply(status=401), Reply(status=424, headers={"ms-azureml-model-error-statuscode": "400"})],
)
def test_a_refusal_is_not_tried_again(refusal: Reply) -> None:
    with serve_judge(lambda prompt: refusal) as server:
        [grade] = grades(panel(server), "yes")
    assert (grade.score, grade.errors[0].code, len(server.requests)) == (None, GradingErrorCode.JUDGE_SERVER, 1)


def test_a_judge_that_is_down_is_not_waited_for_row_by_row() -> None:
    with serve_judge(lambda prompt: Reply(status=503)) as server:
        found = grades(panel(server), *(f"answer {n}" for n in range(200)))
    assert all(grade.unscored for grade in found)
    assert len(server.requests) <= (judges.UNANSWERED_IN_A_ROW + 8) * judges.TRIES


def test_a_good_reply_is_kept_and_one_that_is_unreadable_or_damaged_is_asked_for_again(tmp_path: Path) -> None:
    with serve_judge(lambda prompt: Reply("ten of ten") if "odd" in prompt else GOOD) as server:
        first = panel(server, tmp_path)
        assert [grade.score for grade in grades(first, "yes", "odd")] == [1.0, None]
        again = panel(server, tmp_path)
        assert [grade.score for grade in grades(again, "yes", "odd")] == [1.0, None]
        other = server.endpoint().model_copy(update={"model": "big:2"})
        grades(Panel((other,), tmp_path, lambda: "t"), "yes")
        for reply in (tmp_path / "judge_replies").iterdir():
            reply.write_bytes(bytes(reply.stat().st_size))  # what a mount that lost pages leaves
        assert [grade.score for grade in grades(panel(server, tmp_path), "yes")] == [1.0]
    [use] = again.uses()
    assert (use.requests, use.cached, use.endpoint, use.deployment, use.model) == (1, 1, "judge", "blue", "big:1")
    assert len(server.requests) == 5


@pytest.mark.parametrize(
    "url",
    ["https://judge.example.com/v1/chat/completions", "http://10.0.0.1/v1", "https://inference.ml.azure.com.evil.io/"],
)
def test_no_text_and_no_token_leaves_the_tenant(url: str, tmp_path: Path) -> None:
    file = tmp_path / "judges.json"
    judge = JudgeEndpoint(endpoint="judge", deployment="blue", model="big:1", url=url)
    file.write_text(Judges(judges=(judge,)).model_dump_json())
    with pytest.raises(PermanentFailure) as failure:
        read_judges(file, (GRADER,), None)
    assert (failure.value.failure_class, failure.value.problem.code) == (FailureClass.PLATFORM, "judge_untrusted")


def test_a_grader_whose_judge_nobody_told_of_ends_the_job_before_it_works() -> None:
    with pytest.raises(PermanentFailure) as failure:
        read_judges(None, (GRADER,), None)
    assert (failure.value.failure_class, failure.value.problem.code) == (FailureClass.CODE, "no_judges")


def test_a_reward_is_the_judges_and_its_silence_ends_the_run_as_the_platforms_fault() -> None:
    with serve_judge(lambda prompt: Reply('{"score": 0.25}')) as server:
        rewards = Rewards([GRADER], [{}], ask=panel(server))
        assert rewards(["a", "b"], [0, 0], lambda name, value: None) == [0.25, 0.25]
        server.judge = lambda prompt: Reply(status=503)
        with pytest.raises(PermanentFailure) as failure:
            rewards.of([f"answer {n}" for n in range(60)], [{}] * 60)
    assert (failure.value.failure_class, failure.value.problem.code) == (FailureClass.PLATFORM, "judge_unreachable")


# The evaluation job


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"What is part {n}?"},
                {"role": "assistant", "content": f"a bolt of {n} mm"},
            ],
            "item": {"kind": "odd" if n % 2 else "even", "number": n},
        }
        for n in range(count)
    ]


@pytest.fixture
def evaluated(
    bench: Callable[..., Any],
    write_data: Any,
    resolved: Any,
    random_base: Path,
    as_job: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[JudgeServer, int], tuple[int, Path, Any]]:
    """An evaluation job of the base against itself, graded by a server: exit code, output, bench."""
    monkeypatch.setitem(vars(Panel)["__init__"].__kwdefaults__, "first_wait_s", 0.01)  # five tries take half a minute
    graders = [{**SPEC, "input": [{"role": "user", "content": "Row {{item.number}}: {{sample.output_text}}"}]}]
    evaluation = {"graders": graders, "slices": ["kind"], "max_new_tokens": 2, "gate": {"max_general_regression": None}}

    def run(server: JudgeServer, count: int) -> tuple[int, Path, Any]:
        as_job(server)
        data = write_data(tmp_path / "data", rows(2), rows(count))
        made = bench(tmp_path / "bench", data=data, recipe=resolved({"evaluation": evaluation}))
        file, output = tmp_path / "judges.json", tmp_path / "evaluation"
        file.write_text(Judges(judges=(server.endpoint(),)).model_dump_json())
        arguments = ("--candidate", str(random_base), "--answers", str(tmp_path / "answers"), "--judges", str(file))
        return made.evaluate(*arguments, output=output), output, made

    return run


def of_row(prompt: str) -> int:
    return int(prompt.split(">\n")[1].split("\n")[0])


def test_an_evaluation_is_scored_by_its_judge_and_leaves_an_unscored_row_out_for_all_models(evaluated: Any) -> None:
    def judge(prompt: str) -> Reply:
        number = of_row(prompt)
        return Reply("I refuse") if number == 7 else Reply(json.dumps({"score": number % 2, "reason": f"row {number}"}))

    with serve_judge(judge) as server:
        code, output, _ = evaluated(server, 50)
        requests = len(server.requests)
        assert evaluated(server, 50)[0] == runtime.COMPLETED
    assert code == runtime.COMPLETED
    assert {headers["authorization"] for _, headers in server.requests} == {"Bearer of-the-job"}
    assert len(server.requests) == requests + 2  # the second time only what could not be read, once a model
    report = EvaluationResult.model_validate_json((output / "report.json").read_bytes())
    assert (report.base.rows, report.candidate.rows, report.unscored, report.errors) == (49, 49, 1, ())
    assert report.candidate.mean == pytest.approx(24 / 49)
    assert {(part.value, part.rows) for part in report.slices} == {("even", 25), ("odd", 24)}
    [use] = report.judges
    assert (use.endpoint, use.deployment, use.model) == ("judge", "blue", "big:1")
    lines = [json.loads(line) for line in (output / "rows.jsonl").read_text().splitlines()]
    assert [line["row"] for line in lines if line["unscored"]] == [8]
    assert (lines[7]["scores"], set(lines[7]["answers"])) == ({}, {"base", "candidate"})
    assert lines[3]["reasons"] == {"base": {"tone": "row 3"}, "candidate": {"tone": "row 3"}}


@pytest.mark.parametrize(
    ("reply", "code", "failure"),
    [
        (Reply("I refuse"), "judge_unreadable", FailureClass.RECIPE),
        (Reply(status=500), "judge_unreachable", FailureClass.PLATFORM),
    ],
)
def test_more_than_two_in_a_hundred_unscored_rows_fail_the_evaluation(
    reply: Reply, code: str, failure: FailureClass, evaluated: Any
) -> None:
    with serve_judge(lambda prompt: reply if of_row(prompt) in (3, 4) else GOOD) as server:
        found, output, made = evaluated(server, 50)
    result = made.result(output)
    assert found == runtime.EXIT_CODES[failure]
    assert (result.status, result.failure_class, result.problem.code) == ("failed", failure, code)
    assert "2 of 50 held-out rows have no score from the judge, at most 2% may; row 4 is the first" in str(
        result.problem.message
    )
    assert not (output / "report.json").exists()
