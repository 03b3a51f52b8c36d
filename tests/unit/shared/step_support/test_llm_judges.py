"""Judges that a recipe names: said before anything is spent, and told to the jobs that ask them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.domain import paths
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.evaluation import JudgeEndpoint, Judges
from shared.domain.jobs import DeploymentState, DeploymentView, EndpointView
from shared.domain.planning.plan import resolve
from shared.domain.policy import PlatformPolicy
from shared.domain.recipe import Recipe
from shared.domain.run import Run, Status
from shared.pipeline import BY_NAME
from shared.ports import Services
from shared.records import policies
from shared.records.blob_documents import read_model
from shared.runner import Runner
from shared.step_support.llm_judges import judges_of, require_judges, tell_job
from shared.steps.submit_evaluation import evaluation_job
from shared.steps.submit_training import training_job
from tests.unit.shared.support import CURATED, drop, events_at

JUDGE = {"type": "score_model", "input": [{"role": "user", "content": "{{sample.output_text}}"}]}
EVALUATION = {"evaluation": {"graders": [{"name": "tone", "endpoint": "judge", **JUDGE}]}}


class Models:
    """A platform with endpoints of which only the traffic matters."""

    def __init__(self, **traffic: dict[str, int]) -> None:
        self.traffic = traffic

    def get_endpoint(self, name: str) -> EndpointView | None:
        if name not in self.traffic:
            return None
        split = self.traffic[name]
        return EndpointView(
            name=name,
            scoring_uri=f"https://{name}.x.inference.ml.azure.com/score",
            traffic=split,
            deployments=(*split,),
        )

    def get_deployment(self, endpoint: str, name: str) -> DeploymentView:
        return DeploymentView(name=name, state=DeploymentState.SUCCEEDED, model="big:7")


def recipe(**parts: Any) -> Recipe:
    return Recipe.model_validate({"base_model": "droptune/tiny-llama", **parts})


def resolved(**parts: Any) -> Any:
    return resolve(recipe(**parts), "shop", train_rows=100, characters_max=100)


RULE = {"name": "rule", "endpoint": "strict", **JUDGE}
REWARDED = {**EVALUATION, "method": {"type": "reinforcement", "graders": [RULE]}}


def with_models(services: Services, models: Models) -> Services:
    return replace(services, models=models)  # type: ignore[arg-type]


@pytest.fixture
def run(services: Services, runner: Runner) -> Run:
    created = drop(services, runner)
    assert created is not None
    return created.model_copy(update={"recipe": resolved(**EVALUATION), "curated": CURATED})


@pytest.mark.parametrize(
    ("traffic", "code"),
    [
        ({}, "judge_not_found"),
        ({"judge": {}}, "judge_without_traffic"),
        ({"shop": {"blue": 100}}, "judge_not_found"),
    ],
)
def test_a_judge_that_cannot_answer_is_said_before_anything_is_spent(
    services: Services, traffic: Any, code: str
) -> None:
    with pytest.raises(PermanentFailure) as failure:
        require_judges(resolved(**EVALUATION), with_models(services, Models(**traffic)))
    problem = failure.value.problem
    assert (failure.value.failure_class, problem.code, problem.param) == (FailureClass.RECIPE, code, "judge")


def test_no_model_is_its_own_judge(services: Services) -> None:
    own = resolved(**EVALUATION, deployment={"endpoint": "judge"})
    with pytest.raises(PermanentFailure) as failure:
        require_judges(own, with_models(services, Models(judge={"blue": 100})))
    assert (failure.value.failure_class, failure.value.problem.code) == (FailureClass.RECIPE, "judge_is_own_endpoint")


def test_a_run_whose_judge_is_not_there_fails_in_validation(services: Services) -> None:
    ports = with_models(services, Models())
    runner = Runner(ports)
    services.blobs.write("datasets/shop/recipe.yaml", [recipe(**EVALUATION).model_dump_json().encode()])
    row = b'{"messages": [{"role": "user", "content": "%d?"}, {"role": "assistant", "content": "%d of them"}]}\n'
    run = drop(ports, runner, text=b"".join(row % (n, n) for n in range(60)))
    assert run is not None
    [event] = events_at(ports, "validate_dataset")
    runner.handle(BY_NAME["validate_dataset"], event)
    [refused] = events_at(ports, "fail_run")
    runner.handle(BY_NAME["fail_run"], refused)
    failed = runner.load(run.id)
    assert failed is not None
    assert failed.error is not None
    assert (failed.status, failed.error.problem.code) == (Status.FAILED, "judge_not_found")
    assert failed.jobs == ()


def test_a_training_asks_the_judges_of_its_rewards_and_of_their_calibration() -> None:
    assert judges_of(recipe(**EVALUATION), rewards=True) == []
    assert judges_of(recipe(**REWARDED), rewards=True) == ["strict", "judge"]
    assert judges_of(recipe(**REWARDED), rewards=False) == ["judge"]


def test_a_job_is_told_its_judges_by_a_file_and_only_if_it_has_some(run: Run, services: Services) -> None:
    spec = evaluation_job(run, None, services.config)
    assert spec.command.endswith(" --judges ${{inputs.judges}}")
    assert spec.inputs["judges"] == f"azureml://datastores/runs/paths/{run.id}/judges/{spec.name}.json"
    assert "judges" not in training_job(run, services.config).inputs
    rewarded = run.model_copy(update={"recipe": resolved(**REWARDED)})
    assert training_job(rewarded, services.config).command.endswith(" --judges ${{inputs.judges}}")
    plain = run.model_copy(update={"recipe": resolved()})
    assert "--judges" not in evaluation_job(plain, None, services.config).command


def test_the_busiest_deployment_is_the_judge_and_a_repeated_submission_keeps_the_first(
    run: Run, services: Services
) -> None:
    tell_job(["judge"], "job-1", run, with_models(services, Models(judge={"blue": 10, "green": 90})))
    tell_job(["judge"], "job-1", run, with_models(services, Models(judge={"blue": 100})))
    found = read_model(services.blobs, paths.judges(run.id, "job-1"), Judges)
    url = "https://judge.x.inference.ml.azure.com/v1/chat/completions"
    assert found == Judges(judges=(JudgeEndpoint(endpoint="judge", deployment="green", model="big:7", url=url),))


def test_a_judge_that_is_gone_after_the_training_is_waited_for(run: Run, services: Services) -> None:
    with pytest.raises(PermanentFailure) as failure:
        tell_job(["judge"], "job-1", run, with_models(services, Models()))
    assert (failure.value.failure_class, failure.value.problem.code) == (FailureClass.PLATFORM, "judge_not_found")


OWN = {"endpoints": ["judge"]}
JUDGES: dict[str, tuple[dict[str, Any], bool]] = {
    "nobody's": ({}, True),
    "its own": ({"projects": {"shop": OWN}}, True),
    "of another": ({"projects": {"bank": OWN}}, False),
    "of another, which shares it": ({"projects": {"bank": OWN}, "shared_judges": ["jud*"]}, True),
    "nobody's, where others are shared": ({"shared_judges": ["big"]}, False),
    "its own, where others are shared": ({"projects": {"shop": OWN}, "shared_judges": ["big"]}, True),
}


@pytest.mark.parametrize(("policy", "allowed"), JUDGES.values(), ids=JUDGES)
def test_a_judge_is_of_the_project_or_shared_in_validation_and_when_a_job_is_told(
    run: Run, services: Services, policy: dict[str, Any], allowed: bool
) -> None:
    ports = with_models(services, Models(judge={"blue": 100}))
    policies.apply(ports.store, PlatformPolicy.model_validate(policy), 0, "root", "root", run.created_at)
    path = paths.judges(run.id, "job-1")
    for ask in (
        lambda: require_judges(resolved(**EVALUATION), ports),
        lambda: tell_job(["judge"], "job-1", run, ports),
    ):
        if allowed:
            ask()
            continue
        with pytest.raises(PermanentFailure, match="judge_of_another_project") as failure:
            ask()
        assert failure.value.failure_class is FailureClass.RECIPE
    assert (ports.blobs.info(path) is not None) is allowed
