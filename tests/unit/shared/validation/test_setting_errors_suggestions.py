"""Misspelled keys of every section of the recipe, and names that other tools use."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError
from rapidfuzz.distance import OSA

from shared.domain.findings import ERRORS_SHOWN
from shared.domain.recipe import Recipe
from shared.validation.setting_errors import setting_errors
from tests.paths import ROOT

TABLES = tomllib.loads((ROOT / "shared/validation/other_tools.toml").read_text(encoding="utf-8"))
DEFAULTS = {"base_model": "droptune/tiny-llama"}
Wrap = Callable[[dict[str, Any]], dict[str, Any]]


class Section(NamedTuple):
    """`wrap` puts the settings of the section into a recipe."""

    path: str
    model: type[BaseModel]
    wrap: Wrap


def sections(model: type[BaseModel] = Recipe, path: str = "", wrap: Wrap = dict) -> Iterator[Section]:
    """Every section of the model, entries of lists too, those of a union once for each type."""
    yield Section(path, model, wrap)
    for name, field in model.model_fields.items():
        for inner in dict.fromkeys(models_in(field.annotation)):
            kind = get_origin(field.annotation)
            around = partial(_around, wrap, typed(model), name, kind, typed(inner))
            part = "[0]" if kind is tuple else ".x" if kind is dict else ""
            yield from sections(inner, f"{path}.{name}{part}".removeprefix("."), around)


def _around(
    wrap: Wrap, outer: dict[str, Any], name: str, kind: Any, inner: dict[str, Any], found: dict[str, Any]
) -> dict[str, Any]:
    section = {**inner, **found}
    return wrap({**outer, name: [section] if kind is tuple else {"x": section} if kind is dict else section})


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


def typed(model: type[BaseModel]) -> dict[str, Any]:
    field = model.model_fields.get("type")
    return {"type": get_args(field.annotation)[0]} if field else {}


# A model that stands at several places is looked at once.
SECTIONS = {section.model: section for section in sections()}.values()
MUTATIONS: dict[str, Callable[[str], list[str]]] = {
    "a letter is left out": lambda key: [key[:i] + key[i + 1 :] for i in range(len(key))],
    "a letter is doubled": lambda key: [key[:i] + key[i] + key[i:] for i in range(len(key))],
    "two letters are swapped": lambda key: [
        key[:i] + key[i + 1] + key[i] + key[i + 2 :] for i in range(len(key) - 1) if key[i] != key[i + 1]
    ],
    "another case": lambda key: [key.upper(), key.title(), key.capitalize()],
    "hyphens": lambda key: [key.replace("_", "-"), key.replace("_", " "), key.replace("_", "")],
    "camel case": lambda key: [re.sub("_(.)", lambda found: found[1].upper(), key), key.title().replace("_", "")],
    "singular": lambda key: [key.removesuffix("s")],
    "plural": lambda key: [re.sub("y$", "ie", key) + "s"],
    "words in another order": lambda key: ["_".join(key.split("_")[i:] + key.split("_")[:i]) for i in (1, 2)],
}


def at(path: str, value: Any, method: str = "") -> dict[str, Any]:
    """A recipe with one setting and maybe a type of method."""
    for part in reversed(path.split(".") if path else []):
        value = {part: value}
    if method and isinstance(value.get("method", {}), dict):
        value = {**value, "method": {"type": method, **value.get("method", {})}}
    return dict(value)


def unknown_in(raw: dict[str, Any]) -> dict[str, str]:
    """Path of an unknown setting -> the suggestion."""
    try:
        Recipe.model_validate({**DEFAULTS, **raw})
    except ValidationError as error:
        return {one.path: one.message for one in setting_errors(error, raw, Recipe, DEFAULTS) if one.unknown}
    return {}


def meant(text: str) -> list[str]:
    """The settings that an answer names."""
    found = re.fullmatch(r"did you mean ([^,?]*(?:, [^,?]*)*?)(, which is given too)?\?", text)
    return re.split(", | or ", found[1]) if found else []


def misspelled(section: Section, mutate: Callable[[str], list[str]]) -> Iterator[tuple[str, str]]:
    """A key and the same misspelled."""
    keys = section.model.model_fields.keys()
    return ((key, wrong) for key in keys if len(key) >= 4 for wrong in dict.fromkeys(mutate(key)) if wrong not in keys)


def with_misspelled(section: Section, key: str, wrong: str) -> dict[str, Any]:
    if key != "type":
        return section.wrap({wrong: 1})
    raw = section.wrap({wrong: typed(section.model)["type"]})
    _rid_of_type(raw, wrong)
    return raw


def _rid_of_type(raw: Any, wrong: str) -> None:
    """Remove the type where it was written under another name."""
    if isinstance(raw, dict) and wrong in raw:
        raw.pop("type", None)
    for child in raw.values() if isinstance(raw, dict) else raw if isinstance(raw, list) else ():
        _rid_of_type(child, wrong)


def distance(one: str, other: str) -> int:
    return int(OSA.distance(*(re.sub(r"[\W_]", "", name).lower() for name in (one, other))))


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_every_misspelled_key_of_every_section_gets_the_key(mutation: str) -> None:
    wrong_answers = []
    for section in SECTIONS:
        for key, wrong in misspelled(section, MUTATIONS[mutation]):
            nearer = [one for one in section.model.model_fields if distance(wrong, one) < distance(wrong, key)]
            answers = unknown_in(with_misspelled(section, key, wrong)).get(f"{section.path}.{wrong}".removeprefix("."))
            if key not in meant(answers or "") and not nearer:
                wrong_answers.append((section.path, wrong, answers))
    assert wrong_answers == []


def test_the_sections_are_all_those_of_the_recipe() -> None:
    schema = Recipe.model_json_schema()
    assert {section.model.__name__ for section in SECTIONS} == {
        "Recipe",
        *(name for name, shape in schema["$defs"].items() if "properties" in shape),
    }


def test_every_name_of_another_tool_leads_to_a_setting_or_value_that_exists() -> None:
    settings = {name for section in SECTIONS for name in section.model.model_fields}
    assert TABLES["settings"].keys() <= settings
    values = set(re.findall(r"'(\w+)'", str(Recipe.model_json_schema())))
    assert set(" ".join(TABLES["values"].values()).split()) <= values
    # `type` is a name of ours that other tools give to another of ours.
    theirs, without = ({*" ".join(TABLES[table].values()).split()} for table in ("settings", "without"))
    assert settings & theirs == {"type"}
    assert (settings | theirs) & without == set()


# Where a name of another tool leads that stands at the top of a recipe -> such names, by tool.
OF_OTHER_TOOLS = {
    "did you mean method.hyperparameters.n_epochs?": "num_train_epochs num_epochs epochs",
    "did you mean method.hyperparameters.batch_size?": "per_device_train_batch_size micro_batch_size",
    "did you mean method.hyperparameters.learning_rate?": "learning_rate_multiplier lr",
    "did you mean method.hyperparameters.lora_rank?": "r lora_r",
    "did you mean method.hyperparameters.rslora?": "use_rslora",
    "did you mean method.hyperparameters.dora?": "use_dora",
    "did you mean method.hyperparameters.quantization?": "load_in_4bit load_in_8bit quantization_bit "
    "quantization_method quantizer",
    "did you mean method.hyperparameters.packing?": "sample_packing neat_packing padding_free packed",
    "did you mean method.hyperparameters.max_length_tokens?": "max_length max_seq_length sequence_len cutoff_len "
    "max_prompt_length",
    "did you mean method.hyperparameters.optimizer?": "optim",
    "did you mean method.hyperparameters.seed?": "data_seed random_state",
    "did you mean method.continue_from?": "adapter_name_or_path lora_model_dir",
    "did you mean method.type?": "stage rl",
    "did you mean method.hyperparameters?": "peft_config",
    "did you mean base_model?": "model model_name model_name_or_path",
    "did you mean data.validation_split?": "val_size val_set_size",
    "did you mean data.columns?": "dataset_text_field",
    "did you mean data.over_length?": "truncation_mode",
    "did you mean evaluation.graders?": "reward_funcs grader",
    "did you mean evaluation.max_new_tokens?": "max_completion_length max_tokens",
    "it belongs under method.hyperparameters": "learning_rate lora_alpha lora_dropout packing optimizer seed",
    "it belongs under method": "hyperparameters",
    "method.hyperparameters.beta is a setting of method.type dpo and reinforcement": "beta pref_beta",
    "method.hyperparameters.rollouts_per_prompt is a setting of method.type reinforcement": "num_generations",
    "the number of steps follows": "max_steps max_steps_per_epoch",
    "batch_size is the rows of an optimizer step": "gradient_accumulation_steps",
    "warm-up and decay": "lr_scheduler_type warmup_ratio warmup_steps lr_scheduler",
    "the number of steps decides how often": "logging_steps save_strategy save_steps eval_steps evals_per_epoch "
    "load_best_model_at_end log_every_n_steps eval_interval early_stopping_patience",
    "every linear layer gets a LoRA adapter": "target_modules bias modules_to_save init_lora_weights task_type adapter "
    "lora_target_linear finetuning_type lora_target lora_attn_modules full_finetuning",
    "it stays at the default": "weight_decay adam_beta1 max_grad_norm torch_compile neftune_noise_alpha top_p use_vllm "
    "scale_rewards pref_loss clip_grad_norm loss min_p",
    "the precision is the catalog's": "bf16 fp16 tf32 dtype pure_bf16",
    "it is decided from the base model and the machine": "gradient_checkpointing deepspeed fsdp local_rank device "
    "per_device_eval_batch_size flash_attention flash_attn use_gradient_checkpointing enable_activation_checkpointing",
    "metrics and models are kept": "report_to run_name output_dir push_to_hub wandb_project plot_loss suffix "
    "checkpointer metric_logger integrations",
    "weights, tokenizer and chat template": "eos_token chat_template tokenizer_type trust_remote_code tokenizer",
    "only answers are learned": "assistant_only_loss completion_only_loss train_on_inputs mask_history",
    "the dataset is the file": "datasets test_datasets dataset dataset_dir training_file validation_file",
    "an interrupted job resumes": "resume_from_checkpoint",
    "every run trains and evaluates": "do_train",
    "method.type names it": "supervised dpo reinforcement",
    "": "disable_tqdm profiler metadata reasoning_effort gpu_memory_utilization plugins strict",
}


@pytest.mark.parametrize(("expected", "names"), OF_OTHER_TOOLS.items())
def test_a_name_of_another_tool_gets_our_setting_or_why_there_is_none(expected: str, names: str) -> None:
    answers = unknown_in(dict.fromkeys(names.split(), 1))
    assert answers.keys() == set(names.split())
    assert [text for text in answers.values() if not text.startswith(expected) or bool(text) != bool(expected)] == []


# Place and what was written -> the answer. The method is supervised unless the key is about its type.
ORDER_OF_EVIDENCE = {
    # the section's own names come before those of other tools, and of other sections
    "method.TYPE": "did you mean type?",
    "method.Type": "did you mean type?",
    "method.types": "did you mean type?",
    "data.allowed_personal_data": "did you mean personal_data_allowed?",
    "deployment.rollouts": "did you mean rollout?",
    # but what another tool calls so is not a misspelling
    "use_cache": "it stays at the default of transformers and TRL",
    "data.model": "did you mean base_model at the top level?",
    "method.hyperparameters.local_rank": "it is decided from the base model and the machine",
    # words
    "method.hyperparameters.batch": "did you mean batch_size?",
    "method.hyperparameters.max_len": "did you mean max_length_tokens?",
    "method.hyperparameters.maximum_length": "did you mean max_length_tokens?",
    "method.hyperparameters.lora": "did you mean lora_rank, lora_alpha or lora_dropout?",
    "method.hyperparameters.batch_size_per_device": "did you mean batch_size?",
    "budget.deadline": "did you mean deadline_hours?",
    "budget.type": "did you mean instance_type?",
    "deployment.instanse": "did you mean instances?",
    "retrain.days": "did you mean every_days?",
    "deployment.approve": "did you mean approval?",
    "data.personal": "did you mean personal_data or personal_data_allowed?",
    "deadline": "did you mean budget.deadline_hours?",
    "deployment.vm": "did you mean instance_type?",
    # a value as a key, of those in the table
    "method.hyperparameters.adamw": "did you mean optimizer?",
    "budget.spot": "did you mean tier?",
    "data.redact": "did you mean personal_data?",
    # letters swapped
    "evaluation.gaet": "did you mean gate?",
    "daat": "did you mean data?",
    "method.hyperparameters.sede": "did you mean seed?",
    # German
    "modell": "did you mean base_model?",
    "method.hyperparameters.lernrate": "did you mean learning_rate?",
    "method.hyperparameters.quantisierung": "did you mean quantization?",
    # settings of another type: no name that is refused next
    "method.hyperparameters.max_tokens": "max_new_tokens is a setting of method.type reinforcement, or of evaluation",
    "method.hyperparameters.max_new_tokens": "it is a setting of method.type reinforcement, or of evaluation",
    "method.hyperparameters.num_generations": "rollouts_per_prompt is a setting of method.type reinforcement",
    "method.graders": "it is a setting of method.type reinforcement, or of evaluation",
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("path", "expected"), ORDER_OF_EVIDENCE.items())
@pytest.mark.parametrize("method", [{}, {"type": "supervised"}], ids=["no type", "type supervised"])
def test_the_surest_evidence_decides(path: str, expected: str, method: dict[str, str]) -> None:
    raw = at(path, 1)
    if not path.lower().startswith("method.type"):
        raw["method"] = {**method, **raw.get("method", {})}
    assert unknown_in(raw) == {path: expected}


def test_a_name_that_is_given_too_is_not_offered_as_if_it_were_free() -> None:
    both = {"evaluation": {"max_tokens": 3, "max_new_tokens": 4}}
    assert unknown_in(both) == {"evaluation.max_tokens": "did you mean max_new_tokens, which is given too?"}
    assert unknown_in({"data": {"redact": 1, "secrets": "allow"}}) == {"data.redact": "did you mean personal_data?"}
    assert unknown_in({"model": "a"}) == {"model": "did you mean base_model?"}
    given = "did you mean base_model, which is given too?"
    assert unknown_in({"model": "a", "base_model": DEFAULTS["base_model"]}) == {"model": given}


UNRELATED = """apple river window garden bottle mountain yellow pencil guitar hammer kitchen blanket ocean ticket camera
bridge orange pepper rabbit silver thunder violin winter zebra carpet dragon engine forest glove helmet island jacket
kettle ladder magnet needle oyster pillow quiver ribbon saddle temple umbrella velvet walnut yogurt zipper candle marble
tunnel color owner author title version description comment note tags label team contact debug verbose log cache retries
foo bar baz test tmp x page user region zone tenant subscription time"""


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("path", sorted({one.path for one in SECTIONS if "[" not in one.path}))
def test_an_unrelated_word_gets_no_suggestion(path: str) -> None:
    answers = unknown_in(at(path, dict.fromkeys(UNRELATED.split(), 1)))
    assert len(answers) == len(UNRELATED.split())
    assert set(answers.values()) == {""}


# Without a method it is supervised.
@pytest.mark.few_cases(1)
@pytest.mark.parametrize("method", ["", pytest.param("supervised", marks=pytest.mark.slow), "dpo", "reinforcement"])
def test_who_follows_a_suggestion_finds_no_unknown_setting(method: str) -> None:
    """The names of all tools and of all settings, each in every section."""
    others = " ".join((*TABLES["settings"].values(), *TABLES["without"].values())).split()
    names = dict.fromkeys([*others, *(name for section in SECTIONS for name in section.model.model_fields)])
    followed_up = 0
    for section in SECTIONS:
        raw = section.wrap({})
        if "[" in section.path or raw.get("method", {}).get("type", method or "supervised") != (method or "supervised"):
            continue
        unknown = [name for name in names if name not in section.model.model_fields]
        answers: dict[str, str] = {}
        # Each alone where it may stand for the type of the section; else as many as are answered at once.
        size = 1 if section.path == "method" else ERRORS_SHOWN - 10
        for written in (unknown[first : first + size] for first in range(0, len(unknown), size)):
            answers |= unknown_in(at(section.path, dict.fromkeys(written, 1), method))
        assert len(answers) == len(unknown)
        for path, text in answers.items():
            for recipe in followed(path, text, method):
                followed_up += 1
                assert not _refused(recipe), (path, text)
    assert followed_up > 2000


def followed(path: str, text: str, method: str) -> Iterator[dict[str, Any]]:
    """Recipes that do what the suggestion says with the setting at `path`."""
    section, _, name = f".{path}".rpartition(".")
    section = section.removeprefix(".")
    if found := re.fullmatch("it belongs under (.*)", text):
        for place in found[1].replace("the top level", "").split(" or "):
            yield at(f"{place}.{name}".removeprefix("."), 1, method)
    for one in meant(text):
        top = one.removesuffix(" at the top level")
        yield at(one if "." in one else top if top != one else f"{section}.{one}".removeprefix("."), 1, method)
    if found := re.fullmatch(r"([\w.]+) is a setting of method\.type ([\w ]+?)(?:, or of (.*))?", text):
        one = name if found[1] == "it" else found[1]
        for kind in found[2].split(" and "):
            yield at(one if "." in one else f"{section}.{one}", 1, kind)
        for place in found[3].split(", or of ") if found[3] else ():
            yield at(f"{place}.{one}", 1, method)


def _refused(raw: dict[str, Any]) -> list[Any]:
    """Settings that there are not."""
    try:
        Recipe.model_validate({**DEFAULTS, **raw})
    except ValidationError as error:
        return [one["loc"] for one in error.errors() if one["type"] == "extra_forbidden"]
    return []
