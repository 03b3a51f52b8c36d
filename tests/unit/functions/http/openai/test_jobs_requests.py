"""OpenAI's own client: what a job may be asked for, and the recipe that it becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from functions.http.openai.jobs import JobRequest, recipe_of
from shared.domain.catalog import find_entry
from shared.domain.recipe import Recipe
from shared.ports import Services
from tests.unit.functions.http.openai.support import BASE, create, receive, recipe
from tests.unit.shared.support import ROW, take

if TYPE_CHECKING:
    from openai import OpenAI


def test_the_projects_recipe_decides_what_a_job_cannot_say(ai: OpenAI, training: str, services: Services) -> None:
    own = b"base_model: microsoft/Phi-4\ndeployment: {approval: required}\nmethod: {hyperparameters: {lora_rank: 4}}\n"
    services.blobs.write("datasets/claims/recipe.yaml", [own])
    services.blobs.write("datasets/claims/eval.jsonl", [ROW])
    create(ai, training, suffix="claims")
    assert recipe(services, receive(services)) == {
        "base_model": BASE,
        "deployment": {"approval": "required"},
        "method": {"type": "supervised", "hyperparameters": {}},
    }
    assert b"".join(services.blobs.read("datasets/claims/recipe.yaml")) == own


def test_a_projects_recipe_that_cannot_be_read_is_said(ai: OpenAI, training: str, services: Services) -> None:
    import openai

    services.blobs.write("datasets/claims/recipe.yaml", [b"color: red\n"])
    with pytest.raises(openai.BadRequestError) as refused:
        create(ai, training, suffix="claims")
    assert (refused.value.code, refused.value.param) == ("project_recipe", "suffix")


def test_the_rate_is_a_multiple_of_the_base_models_own(ai: OpenAI, training: str, services: Services) -> None:
    create(ai, training, hyperparameters={"learning_rate_multiplier": 0.5})
    parameters = recipe(services, receive(services))["method"]["hyperparameters"]
    assert parameters == {"learning_rate": 0.5 * find_entry(BASE).defaults.learning_rate}


def test_preferences_and_rewards_are_methods_too(ai: OpenAI, training: str, services: Services) -> None:
    create(ai, training, method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}})
    assert recipe(services, receive(services))["method"] == {"type": "dpo", "hyperparameters": {"beta": 0.2}}
    grader = {
        "type": "text_similarity",
        "name": "close",
        "input": "{{ sample.output_text }}",
        "reference": "{{ item.wanted }}",
        "evaluation_metric": "fuzzy_match",
    }
    create(ai, training, method={"type": "reinforcement", "reinforcement": {"grader": grader}})
    assert recipe(services, receive(services))["method"]["graders"] == [grader]


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(
    ("parameters", "status", "code", "param"),
    [
        ({"model": "gpt-4o-mini"}, 400, "model_not_found", "model"),
        ({"model": "meta-llama/Llama-3.1-8B-Instruct"}, 400, "license_needs_use_case", "metadata"),
        ({"model": "meta-llama/Llama-3.1-8B-Instruct",
          "metadata": {"use_case": "a", "intended_uses": "commercial, military"}}, 400, "license_bars_use", "metadata"),
        ({"training_file": "file-0"}, 404, "file_not_found", "training_file"),
        ({"validation_file": "../eval"}, 404, "file_not_found", "validation_file"),
        ({"suffix": "My Model"}, 400, "bad_request", "suffix"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, 400, "bad_request", "integrations"),
        ({"extra_body": {"color": "red"}}, 400, "bad_request", "color"),
        ({"hyperparameters": {"n_epochs": 99}}, 400, "invalid_value", "method.supervised.hyperparameters.n_epochs"),
        ({"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 99}}}}, 400, "invalid_value",
         "method.dpo.hyperparameters.beta"),
        ({"hyperparameters": {"n_epochs": "many"}}, 400, "bad_request", "hyperparameters.n_epochs"),
        ({"method": {"type": "dpo", "supervised": {}}}, 400, "bad_request", "method"),
        ({"method": {"type": "reinforcement", "reinforcement": {"grader": {"type": "label_model", "name": "j"}}}}, 400,
         "invalid_value", "method.reinforcement.grader"),
        ({"method": {"type": "reinforcement", "reinforcement": {"grader": {"name": "exact"}, "hyperparameters":
         {"eval_samples": 3}}}}, 400, "bad_request", "method.reinforcement.hyperparameters.eval_samples"),
    ],
)  # fmt: skip
def test_what_a_job_cannot_have_is_refused_by_name(
    ai: OpenAI, training: str, services: Services, parameters: dict[str, Any], status: int, code: str, param: str
) -> None:
    import openai

    with pytest.raises(openai.APIStatusError) as refused:
        ai.fine_tuning.jobs.create(**{"training_file": training, "model": BASE, **parameters})
    assert (refused.value.status_code, refused.value.code, refused.value.param) == (status, code, param)
    assert refused.value.type == "invalid_request_error"
    assert take(services, "storage-events") == []


@pytest.mark.parametrize(
    ("project", "metadata", "uses"),
    [
        (["weapons"], {"intended_uses": ""}, ("weapons",)),
        (["weapons"], {"intended_uses": "commercial, weapons"}, ("weapons", "commercial")),
        (["weapons"], {}, ("weapons",)),
        (None, {"intended_uses": ""}, ()),
        (None, {}, None),
    ],
)
def test_a_job_is_for_no_fewer_uses_than_its_projects_recipe(
    project: list[str] | None, metadata: dict[str, str], uses: tuple[str, ...] | None
) -> None:
    own = Recipe.model_validate({"base_model": "droptune/tiny-llama", "intended_uses": project})
    request = JobRequest(model="droptune/tiny-llama", training_file="file-1", metadata=metadata)
    assert recipe_of(request, own).intended_uses == uses
