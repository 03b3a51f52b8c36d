"""Wrong settings of a recipe: suggestions, and no error that only follows from another."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from shared.domain.recipe import Recipe
from shared.validation.setting_errors import setting_errors

DEFAULTS = {"base_model": "droptune/tiny-llama"}
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
    "train": "did you mean method.hyperparameters?",
    "training_args": "did you mean method.hyperparameters?",
    "eval": "did you mean evaluation?",
    "val_size": "did you mean data.validation_split?",
    "stage": "did you mean method.type?",
    "rl": "did you mean method.type?",
    "neat_packing": "did you mean method.hyperparameters.packing?",
    "sample_packing": "did you mean method.hyperparameters.packing?",
    "pref_beta": "method.hyperparameters.beta is a setting of method.type dpo and reinforcement",
    "method.hyperparameters.kl_beta": "beta is a setting of method.type dpo and reinforcement",
    "seq_len": "did you mean method.hyperparameters.max_length_tokens?",
    "sequence_length": "did you mean method.hyperparameters.max_length_tokens?",
    "block_size": "did you mean method.hyperparameters.max_length_tokens?",
    "cutoff_len": "did you mean method.hyperparameters.max_length_tokens?",
    "method.hyperparameters.max_prompt_length": "did you mean max_length_tokens?",
    "per_gpu_train_batch_size": "did you mean method.hyperparameters.batch_size?",
    "micro_batch_size": "did you mean method.hyperparameters.batch_size?",
    "pretrained_model_name_or_path": "did you mean base_model?",
    "model_name_or_path": "did you mean base_model?",
    "load_4bit": "did you mean method.hyperparameters.quantization?",
    "method.hyperparameters.load_8bit": "did you mean quantization?",
    "use_qlora": "did you mean method.hyperparameters.quantization?",
    "method.hyperparameters.quantization_bit": "did you mean quantization?",
    "bits": "did you mean method.hyperparameters.quantization?",
    "data.type": "did you mean format?",
    "data.dataset_format": "did you mean format?",
    "data.test_size": "did you mean validation_split?",
    "data.dataset_text_field": "did you mean columns?",
    "data.truncation_mode": "did you mean over_length?",
    "method.lora": "did you mean hyperparameters?",
    "method.hyperparameters.lora_r": "did you mean lora_rank?",
    "method.hyperparameters.loraDim": "did you mean lora_rank?",
    "method.hyperparameters.use_rslora": "did you mean rslora?",
    "method.hyperparameters.num_epochs": "did you mean n_epochs?",
    "method.hyperparameters.learning_rate_multiplier": "did you mean learning_rate?",
    "method.hyperparameters.max_completion_length": "max_new_tokens is a setting of method.type reinforcement, "
    "or of evaluation",
    "lora_model_dir": "did you mean method.continue_from?",
    "reward_funcs": "did you mean evaluation.graders?",
    "evaluation.metrics": "did you mean graders?",
    "evaluation.max_tokens": "did you mean max_new_tokens?",
    "deployment.endpoint_name": "did you mean endpoint?",
    "budget.gpu": "did you mean instance_type?",
    "budget.nnodes": "did you mean nodes?",
    "webhook_url": "did you mean notify?",
}
# Why there is no such setting -> what was written.
WITHOUT_A_SETTING = {
    "the dataset is the file beside recipe.yaml, the held-out rows are eval.jsonl; data says how rows are read": (
        "dataset",
        "datasets",
        "data.dataset",
        "data.path",
        "training_file",
        "validation_file",
    ),
    "every linear layer gets a LoRA adapter, and the base stays as it is; quantization nf4 is QLoRA": (
        "finetuning_type",
        "adapter",
        "method.hyperparameters.lora_target",
        "method.hyperparameters.target_modules",
        "method.hyperparameters.modules_to_save",
    ),
    "the number of steps follows from n_epochs, batch_size and the rows": ("max_steps",),
    "batch_size is the rows of an optimizer step, whatever a machine holds at once": ("gradient_accumulation_steps",),
    "method.type names it, and hyperparameters and graders stand under method": ("method.supervised", "dpo"),
    "rows are shuffled by seed": ("data.shuffle",),
    "warm-up and decay of the learning rate are fixed for each method.type": (
        "method.hyperparameters.warmup",
        "method.hyperparameters.warmup_ratio",
        "method.hyperparameters.lr_scheduler_type",
    ),
    "it stays at the default of transformers and TRL": (
        "method.hyperparameters.weight_decay",
        "method.hyperparameters.max_grad_norm",
        "method.hyperparameters.neftune_noise_alpha",
        "method.hyperparameters.ld_alpha",
        "use_cache",
    ),
    "the precision is the catalog's for the base model": ("method.hyperparameters.bf16",),
    "it is decided from the base model and the machine": (
        "method.hyperparameters.gradient_checkpointing",
        "method.hyperparameters.flash_attn",
        "method.hyperparameters.local_rank",
    ),
    "only answers are learned, without those of weight 0, and texts as a whole": (
        "method.hyperparameters.train_on_inputs",
    ),
    "the number of steps decides how often, and the best checkpoint is kept": (
        "eval_steps",
        "save_total_limit",
    ),
    "metrics and models are kept with the run": (
        "report_to",
        "wandb_project",
        "suffix",
    ),
    "weights, tokenizer and chat template are those of the base model in the catalog": (
        "chat_template",
        "trust_remote_code",
    ),
    "an interrupted job resumes by itself": ("resume_from_checkpoint",),
}
UNLIKE_ANY = (
    "color",
    "budget.time",
    "deployment.autoscale",
    "evaluation.eval",
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
    "evaluation: {graders: [{name: a, type: multi, calculate_output: x, graders: {x: {type: regx, pattern: b}}}]}": (
        "evaluation.graders[0].graders.x.type",
        "regex",
    ),
}


def errors_of(raw: Any) -> list[tuple[str, str]]:
    with pytest.raises(ValidationError) as refused:
        Recipe.model_validate({**DEFAULTS, **raw})
    return [(error.path, error.message) for error in setting_errors(refused.value, raw, Recipe, DEFAULTS)]


def recipe_with(path: str) -> dict[str, Any]:
    *sections, key = path.split(".")
    raw: dict[str, Any] = {key: 1}
    for section in reversed(sections):
        raw = {section: raw}
    return raw


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("path", "suggestion"), MISSPELLED.items())
def test_an_unknown_setting_gets_the_right_suggestion(path: str, suggestion: str) -> None:
    assert errors_of(recipe_with(path)) == [(path, suggestion)]


@pytest.mark.parametrize(("path", "why"), [(path, why) for why, paths in WITHOUT_A_SETTING.items() for path in paths])
def test_an_option_of_another_tool_that_has_no_setting_gets_the_reason(path: str, why: str) -> None:
    assert errors_of(recipe_with(path)) == [(path, why)]


@pytest.mark.parametrize("path", UNLIKE_ANY)
def test_a_setting_like_no_other_gets_no_suggestion(path: str) -> None:
    assert errors_of(recipe_with(path)) == [(path, "")]


@pytest.mark.parametrize(
    ("text", "path", "suggestion"),
    [
        ("notify: [{subscription: a, event: [run.failed]}]", "notify[0].event", "did you mean events?"),
        ("notify: [{webhook: 'http://a'}]", "notify[0].webhook", "did you mean subscription?"),
        (
            "evaluation: {graders: [{name: a, type: string_check, op: eq}]}",
            "evaluation.graders[0].op",
            "did you mean operation?",
        ),
        ("notify: [{lr: 1, subscription: a}]", "notify[0].lr", ""),
        ("notify: [{suffix: 1, subscription: a}]", "notify[0].suffix", ""),
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
        ("notify: {subscription: a}", "notify", "Input should be a list"),
        ("deployment: {rollout: 10}", "deployment.rollout", "Input should be a list"),
        ("evaluation: {graders: {name: a}}", "evaluation.graders", "Input should be a list"),
        ("evaluation: {slices: a}", "evaluation.slices", "Input should be a list"),
        ("evaluation: {graders: [5]}", "evaluation.graders[0]", "Input should be a mapping of settings"),
        ("evaluation: [5]", "evaluation", "Input should be a mapping of settings"),
        (
            "evaluation: {gate: {floors: {right: 1, exact: 1}}}",
            "evaluation",
            "gate.floors names right: the graders are exact",
        ),
        (
            "evaluation: {gate: {min_pair_agreement: 1}}",
            "evaluation",
            "gate.min_pair_agreement needs pairs, the row field that says which rows belong together",
        ),
        (
            "evaluation: {gate: {gain_over_lookup: 0}, graders: [{name: a, type: score_model, endpoint: judge, "
            "input: [{role: user, content: x}]}]}",
            "evaluation",
            "gate.gain_over_lookup needs graders without a judge, which grades models only",
        ),
        (
            "{method: {type: reinforcement, graders: [{name: a, type: regex, pattern: x}]}, "
            "evaluation: {gate: {gain_over_lookup: 0}}}",
            "",
            "evaluation.gate.gain_over_lookup needs training rows with answers, not prompts",
        ),
    ],
)
def test_a_list_and_a_mapping_are_named_as_yaml_names_them(text: str, path: str, message: str) -> None:
    assert errors_of(yaml.safe_load(text)) == [(path, message)]


def test_a_setting_under_another_name_is_not_missing_too() -> None:
    assert errors_of({"notify": [{"subscripton": "a"}]}) == [("notify[0].subscripton", "did you mean subscription?")]


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        (
            "evaluation: {graders: [{name: a, tpye: regex, patern: b}]}",
            {"graders[0].tpye": "did you mean type?", "graders[0].patern": "did you mean pattern?"},
        ),
        (
            "evaluation: {graders: [{name: a, Type: string_check}, {naem: b, kind: string_check}]}",
            {
                "graders[0].Type": "did you mean type?",
                "graders[1].kind": "did you mean type?",
                "graders[1].naem": "did you mean name?",
            },
        ),
        (
            "evaluation: {graders: [{name: a, type: multi, calculate_output: x, graders: {x: {typ: regex}}}]}",
            {"graders[0].graders.x.typ": "did you mean type?", "graders[0].graders.x.pattern": "Field required"},
        ),
        ("evaluation: {graders: [{name: a, colour: regex}]}", {"graders[0].type": "Field required"}),
    ],
)
def test_a_grader_whose_type_is_misspelled_is_checked_as_one_of_that_type(text: str, errors: dict[str, str]) -> None:
    expected = {f"evaluation.{path}": message for path, message in errors.items()}
    assert dict(errors_of(yaml.safe_load(text))) == expected


def test_a_method_whose_type_is_misspelled_is_checked_as_one_of_that_type() -> None:
    grader = {"name": "a", "type": "regex", "pattern": "b"}
    raw = {"method": {"tpye": "reinforcement", "graders": [grader], "hyperparameters": {"max_tokens": 3}}}
    assert errors_of(raw) == [
        ("method.tpye", "did you mean type?"),
        ("method.hyperparameters.max_tokens", "did you mean max_new_tokens?"),
    ]
    for key in ("stage", "trainer", "typ"):
        assert errors_of({"method": {key: "dpo"}}) == [(f"method.{key}", "did you mean type?")]


def test_what_else_is_wrong_with_a_section_is_reported_beside_the_wrong_value_of_its_type() -> None:
    wrong = "Input should be 'supervised', 'dpo' or 'reinforcement'"
    assert errors_of({"method": {"type": "sft", "hyperparameters": {"lr": 1}}}) == [
        ("method.hyperparameters.lr", "did you mean learning_rate?"),
        ("method.type", f"{wrong} (did you mean 'supervised'?)"),
    ]
    assert errors_of({"method": {"type": "rlhf", "hyperparameters": {"beta": 0}}}) == [
        ("method.type", f"{wrong} (did you mean 'reinforcement'?)"),
        ("method.graders", "Field required"),
    ]
    assert errors_of({"method": {"type": "magic", "hyperparameters": {"lr": 1}}}) == [("method.type", wrong)]


def test_a_setting_that_is_wrong_keeps_its_error_beside_one_with_nearly_its_name() -> None:
    assert errors_of({"data": {"mod": "append", "mode": "add"}}) == [
        ("data.mod", "did you mean mode, which is given too?"),
        ("data.mode", "Input should be 'replace' or 'append'"),
    ]


def test_a_list_with_wrong_entries_is_not_too_short() -> None:
    assert errors_of({"evaluation": {"graders": [{"name": "a"}]}}) == [("evaluation.graders[0].type", "Field required")]
    ((path, message),) = errors_of({"evaluation": {"graders": []}})
    assert (path, message[:31]) == ("evaluation.graders", "List should have at least 1 ite")


@pytest.mark.ci
def test_of_thousands_of_unknown_settings_a_hundred_are_answered() -> None:
    assert len(errors_of({f"setting_{number}": 1 for number in range(5000)})) == 100
