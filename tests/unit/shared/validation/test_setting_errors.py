"""Wrong settings of a recipe: suggestions, and no error that only follows from another."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from shared.domain.recipe import Recipe
from shared.validation.setting_errors import setting_errors

# What was written (a place in the recipe and a key) -> the suggestion.
MISSPELLED = {
    "method.hyperparameters.optimiser": "did you mean optimizer?",
    "method.hyperparameters.optim": "did you mean optimizer?",
    "method.hyperparameters.optimzer": "did you mean optimizer?",
    "method.hyperparameters.quantisation": "did you mean quantization?",
    "method.hyperparameters.load_in_4bit": "did you mean quantization?",
    "method.hyperparameters.num_train_epochs": "did you mean n_epochs?",
    "method.hyperparameters.epochs": "did you mean n_epochs?",
    "method.hyperparameters.n_epoch": "did you mean n_epochs?",
    "method.hyperparameters.per_device_train_batch_size": "did you mean batch_size?",
    "method.hyperparameters.batchSize": "did you mean batch_size?",
    "method.hyperparameters.lr": "did you mean learning_rate?",
    "method.hyperparameters.learning-rate": "did you mean learning_rate?",
    "method.hyperparameters.r": "did you mean lora_rank?",
    "method.hyperparameters.alpha": "did you mean lora_alpha?",
    "method.hyperparameters.max_seq_length": "did you mean max_length_tokens?",
    "method.hyperparameters.random_state": "did you mean seed?",
    "method.hyperparameters.beta": "it is a setting of method.type dpo and reinforcement",
    "method.hyperparamters": "did you mean hyperparameters?",
    "method.typ": "did you mean type?",
    "num_train_epochs": "did you mean method.hyperparameters.n_epochs?",
    "lora_rank": "it belongs under method.hyperparameters",
    "hyperparameters": "it belongs under method",
    "model": "did you mean base_model?",
    "usecase": "did you mean use_case?",
    "instance_type": "it belongs under deployment or budget",
    "budget.max_cost": "did you mean max_usd?",
    "budget.approval": "it belongs under deployment",
    "data.val_set_size": "did you mean validation_split?",
    "data.split": "did you mean validation_split?",
    "data.group": "did you mean split_group?",
    "data.personal_dat": "did you mean personal_data?",
    "evaluation.min_score": "it belongs under evaluation.gate",
    "evaluation.gate.general_suite": "did you mean max_general_regression?",
    "evaluation.gate.confidense": "did you mean confidence?",
    "deployment.base_model": "it belongs under the top level",
    "deployment.keep_previous_hour": "did you mean keep_previous_hours?",
    "retrain.schedule": "did you mean every_days?",
}
UNLIKE_ANY = (
    "color",
    "budget.time",
    "data.shuffle",
    "deployment.autoscale",
    "method.hyperparameters.warmup",
    "method.hyperparameters.answers_at_once",
    "name",
    "",
)

WRONG_VALUES = {
    "method: {type: sft}": ("method.type", "supervised"),
    "method: {type: dpoo}": ("method.type", "dpo"),
    "method: {continue_from: production}": ("method.continue_from", "champion"),
    "method: {hyperparameters: {optimizer: adamw_torch}}": ("method.hyperparameters.optimizer", "adamw"),
    "method: {hyperparameters: {quantization: 4bit}}": ("method.hyperparameters.quantization", "nf4"),
    "method: {hyperparameters: {packing: true}}": ("method.hyperparameters.packing", "packed"),
    "data: {format: sharegtp}": ("data.format", "sharegpt"),
    "data: {over_length: Truncated}": ("data.over_length", "truncate"),
    "data: {personal_data_allowed: [driving_licence]}": ("data.personal_data_allowed[0]", "driving_license"),
    "deployment: {approval: true}": ("deployment.approval", "required"),
    "deployment: {approval: false}": ("deployment.approval", "automatic"),
    "budget: {tier: on-demand}": ("budget.tier", "dedicated"),
    "evaluation: {graders: [{name: a, type: strin_check}]}": ("evaluation.graders[0].type", "string_check"),
    "evaluation: {graders: [{name: a, type: string_check, operation: contains}]}": (
        "evaluation.graders[0].operation",
        "like",
    ),
    "evaluation: {graders: [{name: a, type: multi, calculate_output: x, graders: {x: {type: regx}}}]}": (
        "evaluation.graders[0].graders.x.type",
        "regex",
    ),
}


def errors_of(raw: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as refused:
        Recipe.model_validate({"base_model": "droptune/tiny-llama", **raw})
    return [(error.path, error.message) for error in setting_errors(refused.value, raw, Recipe)]


def recipe_with(path: str) -> dict[str, Any]:
    *sections, key = path.split(".")
    raw: dict[str, Any] = {key: 1}
    for section in reversed(sections):
        raw = {section: raw}
    return raw


@pytest.mark.parametrize(("path", "suggestion"), MISSPELLED.items())
def test_an_unknown_setting_gets_the_right_suggestion(path: str, suggestion: str) -> None:
    assert errors_of(recipe_with(path)) == [(path, suggestion)]


@pytest.mark.parametrize("path", UNLIKE_ANY)
def test_a_setting_like_no_other_gets_no_suggestion(path: str) -> None:
    assert errors_of(recipe_with(path)) == [(path, "")]


@pytest.mark.parametrize(
    ("text", "path", "suggestion"),
    [
        ("notify: [{url: 'http://a', event: [run.failed]}]", "notify[0].event", "did you mean events?"),
        ("notify: [{webhook: 'http://a'}]", "notify[0].webhook", "did you mean url?"),
        (
            "evaluation: {graders: [{name: a, type: string_check, op: eq}]}",
            "evaluation.graders[0].op",
            "did you mean operation?",
        ),
        ("notify: [{lr: 1, url: 'http://a'}]", "notify[0].lr", ""),
        (
            "evaluation: {graders: [{name: a, type: string_check, refrence: b}]}",
            "evaluation.graders[0].refrence",
            "did you mean reference?",
        ),
        (
            "evaluation: {graders: [{name: a, type: multi, calculate_output: x,"
            " graders: {x: {type: regex, pattern: b, inputs: c}}}]}",
            "evaluation.graders[0].graders.x.inputs",
            "did you mean input?",
        ),
        (
            "method: {type: reinforcement, graders: [{name: a, type: regex, pattern: b}],"
            " hyperparameters: {num_generations: 4}}",
            "method.hyperparameters.num_generations",
            "did you mean rollouts_per_prompt?",
        ),
    ],
)
def test_suggestions_are_of_the_place_and_of_its_type(text: str, path: str, suggestion: str) -> None:
    assert errors_of(yaml.safe_load(text)) == [(path, suggestion)]


@pytest.mark.parametrize(("text", "expected"), WRONG_VALUES.items())
def test_a_wrong_value_gets_the_accepted_one_it_resembles(text: str, expected: tuple[str, str]) -> None:
    ((path, message),) = errors_of(yaml.safe_load(text))
    assert (path, message[message.index(" (did") :]) == (expected[0], f" (did you mean '{expected[1]}'?)")


def test_a_value_like_no_other_gets_no_suggestion() -> None:
    assert errors_of({"budget": {"tier": "gold"}}) == [("budget.tier", "Input should be 'spot' or 'dedicated'")]


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("notify: {url: 'http://a'}", "notify", "Input should be a list"),
        ("deployment: {rollout: 10}", "deployment.rollout", "Input should be a list"),
        ("evaluation: {graders: {name: a}}", "evaluation.graders", "Input should be a list"),
        ("evaluation: {slices: a}", "evaluation.slices", "Input should be a list"),
        ("evaluation: {graders: [5]}", "evaluation.graders[0]", "Input should be a mapping of settings"),
        ("evaluation: [5]", "evaluation", "Input should be a mapping of settings"),
    ],
)
def test_a_list_and_a_mapping_are_named_as_yaml_names_them(text: str, path: str, message: str) -> None:
    assert errors_of(yaml.safe_load(text)) == [(path, message)]


def test_a_setting_under_another_name_is_not_missing_too() -> None:
    assert errors_of({"notify": [{"urll": "http://a"}]}) == [("notify[0].urll", "did you mean url?")]


def test_a_list_with_wrong_entries_is_not_too_short() -> None:
    assert errors_of({"evaluation": {"graders": [{"name": "a"}]}}) == [("evaluation.graders[0].type", "Field required")]
    ((path, message),) = errors_of({"evaluation": {"graders": []}})
    assert (path, message[:31]) == ("evaluation.graders", "List should have at least 1 ite")


def test_thousands_of_unknown_settings_are_answered_at_once() -> None:
    start = time.process_time()
    assert len(errors_of({f"setting_{number}": 1 for number in range(5000)})) == 5000
    assert time.process_time() - start < 20
