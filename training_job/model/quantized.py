"""The 4-bit base and its adapters, with a guard against each fault that raises no error. Import only with torch."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from bitsandbytes.nn.modules import Linear4bit
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TokenizersBackend,
)

from shared.domain.catalog import TemplateArguments, reading_of
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.recipe import ResolvedHyperparameters
from shared.rendering.bundle import TOKENIZER, leave_out, read_bundle_folder
from training_job import patches
from training_job.job.checkpoints import MARK, hashes, mark_of
from training_job.job.files import ADAPTER_FILE, read_json
from training_job.job.runtime import classify
from training_job.model.generation import own_settings
from training_job.model.weights import require_weights

CONFIG_FILE = "config.json"
# Fields of an adapter's configuration that say where it comes from or how it starts.
OF_NO_EFFECT = {
    *("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "target_modules"),
    "init_lora_weights",
}


def nf4(compute_dtype: torch.dtype) -> BitsAndBytesConfig:
    """NF4 with double quantization (QLoRA, arXiv 2305.14314); the library's defaults are neither."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )


def load_tokenizer(folder: Path, arguments: TemplateArguments = {}) -> PreTrainedTokenizerBase:  # noqa: B006
    """Tokenizer of a local folder, as saved with the tuned model; its chat template has these arguments. Raises
    PermanentFailure of class recipe: as `read_bundle`, and `token_without_embedding`, at which training would fail
    midway."""
    bundle = read_bundle_folder(folder, arguments)
    # Not `AutoTokenizer`: some of the classes that a configuration may name rebuild what `tokenizer.json` says.
    tokenizer: PreTrainedTokenizerBase = TokenizersBackend.from_pretrained(folder, local_files_only=True)
    tokenizer.chat_template = bundle.template.text
    for end in bundle.turn_ends:
        leave_out(tokenizer.backend_tokenizer, end)
    highest, embedded = max(tokenizer.get_vocab().values()), _config_of(folder).get_text_config().vocab_size
    if highest >= embedded:
        message = f"the tokenizer of the base model has the token {highest}, the model embeds only {embedded}"
        raise PermanentFailure(FailureClass.RECIPE, "token_without_embedding", message, "base_model")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _config_of(folder: Path) -> PretrainedConfig:
    named = (read_json(folder / CONFIG_FILE) or {}).get("model_type")
    reading = reading_of(str(named))
    if reading.rows is None:
        message = f"the base model is a {named}: {reading.why}"
        raise PermanentFailure(FailureClass.RECIPE, "unknown_model_type", message, "base_model")
    config: PretrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return config


def packs(folder: Path) -> bool:
    """Whether rows lie end to end in training; else transformers reads them as it does when the model is served."""
    return reading_of(_config_of(folder).model_type).rows == "packed"


def context_tokens(folder: Path) -> int | None:
    """The longest row a model takes, where its configuration says so."""
    length = getattr(_config_of(folder), "max_position_embeddings", None)
    return int(length) if length else None


def load_model(
    folder: Path, dtype: torch.dtype, *, quantize: bool = False, attention: str | None = None, spread: bool = False
) -> PreTrainedModel:
    """Load a folder in `dtype`, on this process's GPU if any; `quantize`: linear layers in 4 bit; `attention`: where
    transformers is not to choose; `spread`: over all GPUs, for a process that has them to itself. Raises as
    `require_weights`."""
    require_weights(folder)
    options: dict[str, Any] = {"quantization_config": nf4(dtype)} if quantize else {}
    if torch.cuda.device_count() > 1 and spread:
        options["device_map"] = "auto"
    elif torch.cuda.is_available():
        options["device_map"] = {"": PartialState().local_process_index}
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype,
        attn_implementation=attention,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        **options,
    )
    patches.use_one_thread_if_tiny(model)
    assert model.generation_config is not None
    turn_ends = read_bundle_folder(folder).turn_ends if (folder / TOKENIZER).is_file() else ()
    model.generation_config = own_settings(model.generation_config, turn_ends)
    if quantize:
        require_quantized(model)
        patches.keep_training_kernel(model)
    return model


def require_quantized(model: PreTrainedModel) -> None:
    """Refuse a model that should be in 4 bit and is not."""
    if not any(isinstance(module, Linear4bit) for module in model.modules()):
        raise PermanentFailure(FailureClass.CODE, "not_quantized", "the base has no 4-bit layer")


def lora(hyperparameters: ResolvedHyperparameters, model_type: str) -> LoraConfig:
    """An adapter on every linear layer, or on those that the table of architectures names."""
    targets = reading_of(model_type).adapters
    return LoraConfig(
        r=hyperparameters.lora_rank,
        lora_alpha=hyperparameters.lora_alpha,
        use_rslora=hyperparameters.rslora,
        use_dora=hyperparameters.dora,
        lora_dropout=hyperparameters.lora_dropout,
        target_modules=targets if isinstance(targets, str) else [*targets],
        task_type="CAUSAL_LM",
    )


def attach(base: PreTrainedModel, adapter: Path, train_with: ResolvedHyperparameters | None = None) -> PeftModel:
    """The saved adapter on its base, each tensor in its place: PEFT only warns of what fits nowhere. `train_with`: it
    is to be trained on, with the dropout of these. Raises PermanentFailure `adapter_differs`."""
    try:
        config = PeftConfig.from_pretrained(str(adapter))
        if train_with:
            config.lora_dropout = train_with.lora_dropout
        with patches.no_adapter_warnings():
            model = PeftModel.from_pretrained(base, adapter, is_trainable=bool(train_with), config=config)
            saved, loaded = load_file(adapter / ADAPTER_FILE), get_peft_model_state_dict(model)
    except (RuntimeError, ValueError, TypeError, KeyError, SafetensorError) as error:
        if classify(error).failure_class is not FailureClass.CODE:
            raise
        raise PermanentFailure(FailureClass.CODE, "adapter_differs", f"not loaded: {type(error).__name__}") from error
    wrong = sorted(saved.keys() ^ loaded.keys())
    wrong += [each for each in saved.keys() & loaded.keys() if not torch.equal(saved[each], loaded[each].cpu())]
    wrong += [name for name, tensor in saved.items() if not tensor.isfinite().all()]
    if wrong:
        message = f"{len(wrong)} tensors are not those of the model, or hold NaN or infinity, as {wrong[0]}"
        raise PermanentFailure(FailureClass.CODE, "adapter_differs", message)
    return model


def load_adapter(base: PreTrainedModel, adapter: Path, hyperparameters: ResolvedHyperparameters) -> PeftModel:
    """An adapter to be trained on. Raises `adapter_differs` unless it is what was saved and as the recipe says."""
    try:
        require_as_saved(adapter)
        model = attach(base, adapter, train_with=hyperparameters)
    except PermanentFailure as error:
        raise _cannot_start(error.problem.message) from error
    found, expected = asdict(model.peft_config["default"]), asdict(lora(hyperparameters, base.config.model_type))
    # PEFT leaves empty sets and mappings in the configuration of an adapter on a model with experts.
    different = [n for n in expected.keys() - OF_NO_EFFECT if (found.get(n) or None) != (expected[n] or None)]
    problems = [f"{name} {found.get(name)} and not {expected[name]}" for name in sorted(different)]
    layers = (name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear))
    targets = reading_of(base.config.model_type).adapters
    layers = (name for name in layers if targets == "all-linear" or name.endswith(targets))
    bare = [name for name in layers if not re.search(r"\.base_layer$|\.lora_|lm_head$", name)]
    problems += [f"no weights for {len(bare)} linear layers, as {bare[0]}"] if bare else []
    adapted = ((name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer))
    others = [n for n, m in adapted if n.endswith("lm_head") or not isinstance(m.get_base_layer(), torch.nn.Linear)]
    problems += [f"weights for {len(others)} layers that a run does not train, as {others[0]}"] if others else []
    if problems:
        raise _cannot_start(f"it has {', '.join(problems)}")
    return model


def require_as_saved(adapter: Path) -> None:
    """Raises PermanentFailure `adapter_differs` unless the completion mark names each file as it is, and a loss."""
    mark, found = mark_of(adapter), hashes(adapter)
    saved = mark["sha256"] if isinstance(mark.get("sha256"), dict) else {}
    wrong = sorted(name for name in saved.keys() | found.keys() if saved.get(name) != found.get(name))
    if wrong or type(mark.get("fixed_loss")) is not float:
        message = f"not as {MARK} says, which may be missing or without a loss: {', '.join(wrong)}"
        raise PermanentFailure(FailureClass.CODE, "adapter_differs", message)


def _cannot_start(why: str) -> PermanentFailure:
    message = f"the adapter to continue from does not fit: {why}"
    return PermanentFailure(FailureClass.RECIPE, "adapter_differs", message, "method.continue_from")


def merge_adapter(base: Path, adapter: Path, dtype: torch.dtype, *, quantize: bool) -> PreTrainedModel:
    """The adapter merged into the base it was trained on: DEQUANTIZED where that was in 4 bit."""
    model = load_model(base, dtype, quantize=quantize, spread=True)
    merged: PreTrainedModel = attach(model.dequantize() if quantize else model, adapter).merge_and_unload(
        safe_merge=True
    )
    return merged


def save_merged(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save as bfloat16 safetensors with tokenizer and chat template."""
    model.to(torch.bfloat16)  # type: ignore[arg-type]
    if getattr(model.config, "quantization_config", None) is not None:
        raise PermanentFailure(FailureClass.CODE, "still_quantized", "the merged model is still quantized")
    for settings in (vars(model.config), tokenizer.init_kwargs):
        settings.pop("auto_map", None)  # a base's own code, which nobody has run, and no server is to look for
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
