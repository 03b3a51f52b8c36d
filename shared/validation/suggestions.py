"""Names that a user most likely meant: the settings of the recipe and the values a setting accepts.

Three sources, in this order: tables of names other tools use, the same name elsewhere in the recipe, and similar
spelling, which is not asked for a name of the tables. No suggestion is made where none of them is convincing.
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

# Ours -> names in Hugging Face transformers, TRL, PEFT, bitsandbytes, Axolotl, LLaMA-Factory, Unsloth, OpenAI or
# British English. A name may stand in several rows: the first of ours that exists at the place is meant.
_OTHER_NAMES = {
    "n_epochs": "num_train_epochs num_epochs epochs epoch train_epochs max_epochs",
    "batch_size": "per_device_train_batch_size per_gpu_train_batch_size per_device_batch_size train_batch_size "
    "global_batch_size micro_batch_size gradient_accumulation_steps gradient_accumulation grad_accum bsz",
    "learning_rate": "lr learning_rate_multiplier peak_lr max_lr",
    "lora_rank": "r rank lora_r lora_dim peft_lora_r",
    "lora_alpha": "alpha lora_scaling peft_lora_alpha",
    "lora_dropout": "dropout peft_lora_dropout",
    "rslora": "use_rslora peft_use_rslora rank_stabilized",
    "dora": "use_dora peft_use_dora",
    "quantization": "load_in_4bit load_in_8bit load_4bit load_8bit use_4bit bnb_4bit_quant_type use_qlora qlora "
    "quantization_bit quantization_type quantization_method quantization_config double_quantization "
    "bnb_4bit_use_double_quant quantisation quantize quant bits",
    "optimizer": "optim optimiser optimizer_type",
    "packing": "sample_packing neat_packing use_packing pack padding padding_free pad_to_sequence_len",
    "max_length_tokens": "max_length max_seq_length max_seq_len max_sequence_length model_max_length sequence_len "
    "seq_len seq_length sequence_length block_size cutoff_len context_length context_window max_prompt_length "
    "max_model_len",
    "seed": "random_seed random_state data_seed train_seed",
    "beta": "kl_coef kl_coeff kl_beta kl_penalty kl_loss_coef dpo_beta pref_beta rl_beta",
    "rollouts_per_prompt": "num_generations num_return_sequences num_rollouts num_samples_per_prompt group_size "
    "rollouts",
    "max_new_tokens": "max_completion_length max_completion_tokens max_tokens max_output_tokens max_response_length "
    "response_length generation_max_length",
    "temperature": "sampling_temperature",
    "continue_from": "adapter_name_or_path lora_model_dir resume_lora_training init_from",
    "type": "stage rl algorithm algo trainer trainer_type train_type training_type training_method "
    "objective sft grpo orpo kto supervised dpo reinforcement preference",
    "hyperparameters": "train training training_args training_arguments trainer_args train_config hparams hyperparams "
    "lora peft peft_config lora_config adapter_config",
    "base_model": "model model_id model_name model_path model_name_or_path pretrained_model_name_or_path "
    "base_model_name_or_path pretrained_model base_model_id hf_model",
    "data": "dataset datasets data_config train_dataset",
    "evaluation": "eval evals evaluate eval_config",
    "deployment": "deploy serving serve inference",
    "budget": "compute resources limits",
    "validation_split": "holdout val_size val_set_size val_split eval_size test_size test_split validation "
    "validation_size validation_fraction validation_ratio validation_split_percentage eval_split split",
    "max_general_regression": "general_suite",
    "operation": "op",
    "split_group": "group_by group_column group",
    "personal_data": "pii",
    "deidentify": "anonymize anonymise anonymization deidentification de_identify redact_names names",
    "format": "type dataset_format dataset_type data_format formatting",
    "columns": "field_mapping column_mapping dataset_text_field text_column prompt_column field_messages "
    "field_instruction field_output message_property_mappings",
    "over_length": "truncation truncation_mode truncate excess_length_strategy",
    "graders": "reward_funcs reward_functions rewards reward_fn metrics metric compute_metrics grader testing_criteria",
    "min_gain": "min_improvement",
    "url": "webhook webhook_url",
    "notify": "webhook webhooks webhook_url notifications callbacks",
    "instance_type": "vm_size sku gpu gpu_type gpus num_gpus n_gpus machine_type instance accelerator node_type",
    "nodes": "num_nodes nnodes n_nodes instance_count num_machines",
    "endpoint": "endpoint_name",
    "max_usd": "max_cost max_eur max_cost_usd max_budget cost_limit",
    "deadline_hours": "timeout timeout_hours max_hours max_runtime max_time",
    "tier": "spot low_priority use_spot priority",
    "every_days": "schedule interval_days",
}
_SETTINGS_OF_OTHER_TOOLS: dict[str, tuple[str, ...]] = {
    other: tuple(ours for ours, others in _OTHER_NAMES.items() if other in others.split())
    for names in _OTHER_NAMES.values()
    for other in names.split()
}
# Why there is no such setting -> its names in those tools.
_WITHOUT_A_SETTING = {
    "the number of steps follows from n_epochs, batch_size and the rows": "max_steps num_steps total_steps "
    "max_train_steps",
    "warm-up and decay of the learning rate are fixed for each method.type": "lr_scheduler_type lr_scheduler "
    "lr_scheduler_kwargs scheduler warmup warmup_steps warmup_ratio num_warmup_steps cosine_min_lr_ratio",
    "the number of steps decides how often, and the best checkpoint is kept": "eval_steps evaluation_strategy "
    "eval_strategy evals_per_epoch eval_interval save_steps save_strategy saves_per_epoch save_total_limit "
    "logging_steps logging_strategy logging_first_step load_best_model_at_end metric_for_best_model greater_is_better "
    "early_stopping_patience",
    "every linear layer gets a LoRA adapter, and the base stays as it is; quantization nf4 is QLoRA": "adapter "
    "use_lora use_peft peft_type task_type finetuning_type finetune_type full_finetuning target_modules lora_target "
    "lora_targets lora_target_modules lora_target_linear lora_modules_to_save modules_to_save lora_bias bias "
    "lora_fan_in_fan_out layers_to_transform task_type additional_target unfrozen_parameters freeze_trainable_layers",
    "it stays at the default of transformers and TRL": "weight_decay max_grad_norm gradient_clipping adam_beta1 "
    "adam_beta2 adam_epsilon optim_args neftune_noise_alpha label_smoothing label_smoothing_factor loss_type "
    "pref_loss top_p top_k scale_rewards num_iterations epsilon reward_weights use_vllm torch_compile "
    "use_liger_kernel enable_liger_kernel dataloader_num_workers use_cache ld_alpha",
    "the precision is the catalog's for the base model": "bf16 fp16 tf32 pure_bf16 torch_dtype dtype precision "
    "mixed_precision bnb_4bit_compute_dtype compute_dtype",
    "it is decided from the base model and the machine": "gradient_checkpointing use_gradient_checkpointing "
    "activation_checkpointing flash_attention flash_attn use_flash_attention_2 attn_implementation sdp_attention "
    "deepspeed fsdp fsdp_config sharding auto_find_batch_size device_map local_rank per_device_eval_batch_size "
    "eval_batch_size",
    "metrics and models are kept with the run": "report_to output_dir logging_dir overwrite_output_dir run_name "
    "suffix wandb wandb_project wandb_entity mlflow_tracking_uri integrations push_to_hub hub_model_id hub_token "
    "plot_loss",
    "weights, tokenizer and chat template are those of the base model in the catalog": "chat_template template "
    "conversation_template tokenizer tokenizer_type tokenizer_name model_type processor_type trust_remote_code "
    "special_tokens eos_token pad_token use_fast_tokenizer revision model_revision",
    "only answers are learned, without those of weight 0, and texts as a whole": "train_on_inputs train_on_prompt "
    "train_on_responses_only assistant_only_loss completion_only_loss mask_history mask_prompt roles_to_train",
    "the dataset is the file that is dropped beside recipe.yaml, the held-out rows are eval.jsonl": "dataset datasets "
    "train_dataset dataset_name dataset_path dataset_dir data_path data_files path train_file train_data "
    "training_file training_data eval_dataset eval_file test_file test_datasets validation_file validation_data",
    "rows are shuffled by seed": "shuffle shuffle_dataset shuffle_data",
    "an interrupted job resumes by itself": "resume_from_checkpoint auto_resume_from_checkpoints",
}
_REASONS = {other: reason for reason, names in _WITHOUT_A_SETTING.items() for other in names.split()}
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
    """For a setting that `model` does not have, in words: "did you mean X?", "it belongs under X", why there is none;
    or nothing."""
    key = str(location[-1])
    here = sorted({name for place in _schemas_at(model, location[:-1], raw) for name in place.get("properties", {})})
    if near := _of_other_tools(key, here, _SETTINGS_OF_OTHER_TOOLS):
        return f"did you mean {near}?"
    elsewhere = () if any(isinstance(part, int) for part in location) else _settings(model)
    if same := [setting for setting in elsewhere if setting.path[-1] == key]:
        return _belongs(location, same)
    around = [location[: i + 1] for i in range(len(location) - 1)]
    names = sorted({setting.path[-1] for setting in elsewhere if setting.path not in around})
    name = _of_other_tools(key, names, _SETTINGS_OF_OTHER_TOOLS)
    if not name and (reason := _REASONS.get(_plain(key))):
        return reason if "base_model" in names else ""
    if not name and _plain(key) not in _SETTINGS_OF_OTHER_TOOLS:
        if near := _similar(key, here, _SIMILAR):
            return f"did you mean {near}?"
        name = _similar(key, names, _SIMILAR_ELSEWHERE)
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
