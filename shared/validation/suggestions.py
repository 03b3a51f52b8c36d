"""Names that a user most likely meant: the settings of the recipe and the values a setting accepts.

Three sources, in this order: a table of names other tools use, the same name elsewhere in the recipe, and similar
spelling. No suggestion is made where none of them is convincing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, NamedTuple

from pydantic import BaseModel

Location = tuple[int | str, ...]

# Ratio of difflib: `time` and `tier` have 0.75 by chance, `confidense` and `confidence` 0.9. A setting of another
# section must be closer, since many are compared.
_SIMILAR = 0.76
_SIMILAR_ELSEWHERE = 0.85

# Name in Hugging Face transformers, TRL, PEFT, bitsandbytes, Axolotl, Unsloth, OpenAI or British English -> ours. The
# first that exists at the place is meant.
_SETTINGS_OF_OTHER_TOOLS: dict[str, tuple[str, ...]] = {
    "num_train_epochs": ("n_epochs",),
    "num_epochs": ("n_epochs",),
    "epochs": ("n_epochs",),
    "per_device_train_batch_size": ("batch_size",),
    "train_batch_size": ("batch_size",),
    "global_batch_size": ("batch_size",),
    "micro_batch_size": ("batch_size",),
    "gradient_accumulation_steps": ("batch_size",),
    "lr": ("learning_rate",),
    "learning_rate_multiplier": ("learning_rate",),
    "r": ("lora_rank",),
    "rank": ("lora_rank",),
    "lora_r": ("lora_rank",),
    "alpha": ("lora_alpha",),
    "dropout": ("lora_dropout",),
    "use_rslora": ("rslora",),
    "use_dora": ("dora",),
    "load_in_4bit": ("quantization",),
    "load_in_8bit": ("quantization",),
    "bnb_4bit_quant_type": ("quantization",),
    "quantisation": ("quantization",),
    "quantize": ("quantization",),
    "optim": ("optimizer",),
    "optimiser": ("optimizer",),
    "sample_packing": ("packing",),
    "padding": ("packing",),
    "max_seq_length": ("max_length_tokens",),
    "max_seq_len": ("max_length_tokens",),
    "max_length": ("max_length_tokens",),
    "model_max_length": ("max_length_tokens",),
    "sequence_len": ("max_length_tokens",),
    "cutoff_len": ("max_length_tokens",),
    "context_length": ("max_length_tokens",),
    "random_seed": ("seed",),
    "random_state": ("seed",),
    "data_seed": ("seed",),
    "kl_coef": ("beta",),
    "kl_coeff": ("beta",),
    "dpo_beta": ("beta",),
    "num_generations": ("rollouts_per_prompt",),
    "num_return_sequences": ("rollouts_per_prompt",),
    "group_size": ("rollouts_per_prompt",),
    "max_completion_length": ("max_new_tokens",),
    "max_completion_tokens": ("max_new_tokens",),
    "max_tokens": ("max_new_tokens",),
    "model": ("base_model",),
    "model_id": ("base_model",),
    "model_name": ("base_model",),
    "model_name_or_path": ("base_model",),
    "holdout": ("validation_split",),
    "val_set_size": ("validation_split",),
    "test_size": ("validation_split",),
    "validation": ("validation_split",),
    "validation_size": ("validation_split",),
    "validation_fraction": ("validation_split",),
    "eval_split": ("validation_split",),
    "split": ("validation_split",),
    "general_suite": ("max_general_regression",),
    "op": ("operation",),
    "group_by": ("split_group",),
    "group_column": ("split_group",),
    "group": ("split_group",),
    "pii": ("personal_data",),
    "dataset_format": ("format",),
    "dataset_type": ("format",),
    "truncation": ("over_length",),
    "reward_funcs": ("graders",),
    "reward_functions": ("graders",),
    "rewards": ("graders",),
    "metrics": ("graders",),
    "sft": ("method",),
    "trainer": ("method",),
    "algorithm": ("method",),
    "webhook": ("url", "notify"),
    "webhooks": ("notify",),
    "notifications": ("notify",),
    "vm_size": ("instance_type",),
    "sku": ("instance_type",),
    "num_nodes": ("nodes",),
    "nnodes": ("nodes",),
    "instance_count": ("nodes",),
    "max_cost": ("max_usd",),
    "max_eur": ("max_usd",),
    "max_cost_usd": ("max_usd",),
    "timeout_hours": ("deadline_hours",),
    "max_hours": ("deadline_hours",),
    "spot": ("tier",),
    "low_priority": ("tier",),
    "schedule": ("every_days",),
}
_VALUES_OF_OTHER_TOOLS: dict[str, tuple[str, ...]] = {
    "sft": ("supervised",),
    "preference": ("dpo",),
    "grpo": ("reinforcement",),
    "rft": ("reinforcement",),
    "rlhf": ("reinforcement",),
    "4bit": ("nf4",),
    "int4": ("nf4",),
    "qlora": ("nf4",),
    "false": ("none", "padded", "automatic"),
    "bf16": ("none",),
    "16bit": ("none",),
    "true": ("nf4", "packed", "required"),
    "adam": ("adamw",),
    "adamw_torch": ("adamw",),
    "adamw_torch_fused": ("adamw",),
    "adamw_8bit": ("paged_adamw_8bit",),
    "adamw_bnb_8bit": ("paged_adamw_8bit",),
    "messages": ("chat",),
    "chatml": ("chat",),
    "openai": ("chat",),
    "instruction": ("alpaca",),
    "skip": ("drop",),
    "cut": ("truncate",),
    "mask": ("redact",),
    "anonymize": ("redact",),
    "ignore": ("allow",),
    "low_priority": ("spot",),
    "on_demand": ("dedicated",),
    "manual": ("required",),
    "production": ("champion",),
    "exact_match": ("string_check",),
    "bleu": ("text_similarity",),
    "rouge": ("text_similarity", "rouge_l"),
    "llm_judge": ("score_model",),
    "json": ("json_schema",),
    "equals": ("eq",),
    "contains": ("like",),
    "icontains": ("ilike",),
}


def suggest_setting(location: Location, raw: Any, model: type[BaseModel]) -> str:
    """For a setting that `model` does not have, in words: "did you mean X?", "it belongs under X"; or nothing."""
    key = str(location[-1])
    places = list(_schemas_at(model, location[:-1], raw))
    here = sorted({name for place in places for name in place.get("properties", {})})
    near = _of_other_tools(key, here, _SETTINGS_OF_OTHER_TOOLS) or _similar(key, here, _SIMILAR)
    elsewhere = () if any(isinstance(part, int) for part in location) else _settings(model)
    same = [setting for setting in elsewhere if setting.path[-1] == key]
    if same:
        return _belongs(location, same)
    if near:
        return f"did you mean {near}?"
    names = sorted({setting.path[-1] for setting in elsewhere})
    name = _of_other_tools(key, names, _SETTINGS_OF_OTHER_TOOLS) or _similar(key, names, _SIMILAR_ELSEWHERE)
    paths = dict.fromkeys(".".join(setting.path) for setting in elsewhere if setting.path[-1] == name)
    return f"did you mean {' or '.join(paths)}?" if paths else ""


def suggest_value(location: Location, raw: Any, value: Any, model: type[BaseModel]) -> str:
    """The same for a value that the setting at `location` does not accept."""
    accepted = sorted({value for place in _schemas_at(model, location, raw) for value in _values(place)})
    if not isinstance(value, str | bool):
        return ""
    near = _of_other_tools(str(value), accepted, _VALUES_OF_OTHER_TOOLS) or _similar(str(value), accepted, _SIMILAR)
    return f"did you mean '{near}'?" if near else ""


class _Setting(NamedTuple):
    path: tuple[str, ...]
    type: str  # of the section it belongs to, empty where a section has one shape


def _belongs(location: Location, same: Sequence[_Setting]) -> str:
    """`same`: the settings of this name, all over the recipe."""
    types = dict.fromkeys(setting.type for setting in same if setting.path == location)
    if types:
        return f"it is a setting of method.type {' and '.join(types)}"
    sections = dict.fromkeys(".".join(setting.path[:-1]) for setting in same)
    return f"it belongs under {' or '.join(section or 'the top level' for section in sections)}"


def _plain(name: str) -> str:
    """`numTrainEpochs`, `num-train-epochs` and `num_train_epochs` are one name."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").replace(" ", "_").lower()


def _of_other_tools(name: str, known: Sequence[str], table: dict[str, tuple[str, ...]]) -> str:
    return next((ours for ours in table.get(_plain(name), ()) if ours in known), "")


def _similar(name: str, known: Sequence[str], cutoff: float) -> str:
    return next(iter(get_close_matches(_plain(name), known, n=1, cutoff=cutoff)), "")


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


@cache
def _settings(model: type[BaseModel]) -> tuple[_Setting, ...]:
    """Every setting that does not stand in a list."""
    schema = _schema(model)

    def inside(node: dict[str, Any], path: tuple[str, ...], kind: str) -> Iterator[_Setting]:
        for shape in _shapes(schema, node):
            of_type = _type_of(shape) or kind
            for name, setting in shape.get("properties", {}).items():
                yield _Setting((*path, name), of_type)
                yield from inside(setting, (*path, name), of_type)

    return tuple(inside(schema, (), ""))


def _schemas_at(model: type[BaseModel], location: Location, raw: Any) -> list[dict[str, Any]]:
    """The JSON schemas that may apply at a place; of the shapes of a section the one that its `type` chooses."""
    schema = _schema(model)
    nodes = _chosen(_shapes(schema, schema), raw)
    for part in location:
        raw = raw[part] if has(raw, part) else None
        children = [child for node in nodes for child in _children(node, part)]
        nodes = _chosen([shape for child in children for shape in _shapes(schema, child)], raw)
    return nodes


def has(raw: Any, part: int | str) -> bool:
    """Whether `raw[part]` exists."""
    return part in raw if isinstance(raw, dict) else isinstance(raw, list) and isinstance(part, int) and part < len(raw)


def _children(node: dict[str, Any], part: int | str) -> list[dict[str, Any]]:
    if isinstance(part, int):
        return [node["items"]] if "items" in node else []
    found = node.get("properties", {}).get(part)
    return [found] if found else list(node.get("patternProperties", {}).values())


def _shapes(schema: dict[str, Any], node: dict[str, Any]) -> list[dict[str, Any]]:
    """A node without references and alternatives."""
    if "$ref" in node:
        return _shapes(schema, schema["$defs"][node["$ref"].removeprefix("#/$defs/")])
    alternatives = node.get("anyOf", node.get("oneOf"))
    return [shape for one in alternatives for shape in _shapes(schema, one)] if alternatives else [node]


def _type_of(shape: dict[str, Any]) -> str:
    return str(shape.get("properties", {}).get("type", {}).get("const", ""))


def _chosen(shapes: list[dict[str, Any]], raw: Any) -> list[dict[str, Any]]:
    kind = raw.get("type") if isinstance(raw, dict) else None
    return [shape for shape in shapes if _type_of(shape) == kind] or shapes


def _values(shape: dict[str, Any]) -> list[str]:
    """Those a setting accepts; of a section, those of its `type`."""
    return [str(value) for value in shape.get("enum", [shape["const"]] if "const" in shape else [])]
