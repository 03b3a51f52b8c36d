"""All that changes, replaces or works around what a library does while a job runs: one function each.

A docstring says why; then the pinned version that it was seen in, and what shows that it is no longer needed. What a
library documents as an option, a hook or a method to override is no patch. Some have to come before any import.
"""

import logging
import os
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, TrainerState
    from trl.trainer.utils import RepeatSampler


def no_hub() -> None:
    """huggingface-hub looks names up on its hub, to which a job has no way; it must not wait for that.
    Seen in huggingface-hub 2.4.0; unneeded when it is offline by default."""
    for name in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ[name] = "1"


def no_tokenizer_threads() -> None:
    """tokenizers warns of a deadlock where a process forks after its threads have worked.
    Seen in tokenizers 0.23.3; unneeded when such a fork warns of nothing."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def brief_mlflow() -> None:
    """MLflow reports its use to its makers, and tries a tracking server that is down for minutes.
    Seen in mlflow-skinny 3.15.0; unneeded when telemetry is off and a failed call ends within seconds by default."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


def no_compiler() -> None:
    """bitsandbytes imports torch's compiler for what it runs on a CPU (0.9 s); nothing here is compiled.
    Seen in bitsandbytes 0.50.2; unneeded when `test_a_job_imports_no_compiler` passes without it."""
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")


def no_kernel_warning() -> None:
    """bitsandbytes warns that an optional kernel for inference is missing, which training must not use anyway.
    Seen in bitsandbytes 0.50.2; unneeded when an import on a CPU with AVX512_BF16 warns of nothing."""
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.CRITICAL)


def no_checkpointing_warning() -> None:
    """PEFT reads a name that transformers has deprecated, which warns of it.
    Seen in peft 0.21.2; unneeded when an adapter is put on a model without that warning."""
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)


def use_one_thread_if_tiny(model: "PreTrainedModel") -> None:
    """torch takes all cores for a tiny model too: one thread is as fast, and faster beside other processes.
    Seen in torch 2.13.0; unneeded when more threads than one are no slower beside a busy process."""
    import torch

    if not torch.cuda.is_available() and model.num_parameters() < 50_000_000:
        torch.set_num_threads(1)


def keep_training_kernel(model: "torch.nn.Module") -> None:
    """bitsandbytes repacks 4-bit weights in the first pass in eval mode on a CPU with AVX512_BF16, for a kernel without
    backward: later gradients are 20 times too small, a merge gives garbage, without an error. Due after every load.
    Seen in bitsandbytes 0.50.2; unneeded when its issue 2078 is closed and weights stay as they are."""
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def adapters_to_float32(model: "torch.nn.Module") -> None:
    """trl casts adapters on a 4-bit base to bfloat16, and with them AdamW's moments, where beta2 = 0.999 cannot decay.
    PEFT resumes in float32, so a resumed run would change its precision. Due after building and after resuming.
    Seen in trl 1.16.0; unneeded when its trainers leave adapters on a 4-bit base in float32."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def share_adapter_inputs(model: "torch.nn.Module") -> None:
    """PEFT casts inputs to the adapter's float32, autocast casts them back, and autograd keeps a copy for each adapter:
    the same bits in more memory and time. For a model that is called under autocast alone. With 4 bit on a GPU, and
    only there, PEFT leaves the input as it is. DoRA keeps the cast: its norms are computed in the input's type.
    Seen in peft 0.21.2; unneeded when adapters with the same input keep one copy of it under autocast."""
    from peft.tuners.lora import LoraLayer

    for module in model.modules():
        if isinstance(module, LoraLayer) and not module.lora_variant:
            module.cast_input_dtype_enabled = False


def row_attention() -> str:
    """transformers puts a mask over rows that lie end to end, which costs the square of their length and rules out the
    fast kernels. This attention takes each row apart: no mask unless a row is longer than the model's window.
    Seen in transformers 5.23.0; unneeded when its attention of packed rows builds no mask, on a CPU too."""
    from transformers import AttentionInterface

    name = "droptune_rows"
    AttentionInterface.register(name, _attend_within_rows)  # without a mask function of the same name no mask is built
    return name


def _attend_within_rows(
    module: Any, *given: Any, row_lengths: list[int] | None, sliding_window: int | None = None, **options: Any
) -> tuple["torch.Tensor", None]:
    """Given query, key and value `[batch, heads, tokens, head_dim]`, no mask: gives `[batch, tokens, heads, head_dim]`.

    `row_lengths` splits the tokens. None: one row each, padded on the right, where causality hides the padding.
    It has no default, so that a model loaded for training cannot be called without saying which it is.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    *states, mask = given
    assert mask is None
    lengths = row_lengths or [states[0].shape[2]]
    rows = zip(*(tensor.split(lengths, dim=2) for tensor in states), strict=True)
    outputs = [sdpa_attention_forward(module, q, k, v, _window(q, sliding_window), **options)[0] for q, k, v in rows]
    return torch.cat(outputs, dim=1), None


def _window(query: "torch.Tensor", width: int | None) -> "torch.Tensor | None":
    """Mask `[1, 1, tokens, tokens]` of a row that is longer than the model looks back."""
    import torch

    tokens = query.shape[2]
    if width is None or tokens <= width:
        return None
    seen = query.new_ones(tokens, tokens, dtype=torch.bool)
    return seen.tril().triu(1 - width)[None, None]


def take_head(model: "PeftModel") -> "torch.Tensor":
    """transformers computes all logits at once. Without the output layer, whose weight `[vocabulary, hidden]` this
    returns, the model ends in hidden states, and the loss projects those of trained tokens in chunks.
    Seen in transformers 5.23.0; unneeded when its loss takes hidden states and positions, in chunks."""
    import torch

    base = cast("PreTrainedModel", model.get_base_model())
    head: torch.Tensor = base.get_output_embeddings().weight
    base.set_output_embeddings(torch.nn.Identity())
    return head


def no_adapter_warnings() -> AbstractContextManager[object]:
    """PEFT only warns of tensors that fit nowhere, and leaves others at their start; `quantized.attach` compares.
    Seen in peft 0.21.2; unneeded when an adapter that does not fit is an error."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)


def no_model_card(*_: Any, **__: Any) -> None:
    """PEFT and trl write model cards: templates with hardly a word filled in. The manifest says what a model is.
    Seen in peft 0.21.2 and trl 1.16.0; unneeded when a checkpoint holds no README.md."""


def find_best(state: "TrainerState", folder: Path, measure: str) -> int | None:
    """transformers looks for the best checkpoint where it was written, which may be mounted elsewhere now, and delivers
    the last under the name of a best that is lost. Then the one resumed from is the best; returns the step of the lost.
    Seen in transformers 5.23.0; unneeded when a run with a lost best checkpoint names what it delivers."""
    lost = None
    if state.best_global_step is None:
        return None
    if not (folder / f"checkpoint-{state.best_global_step}").is_dir():
        lost, state.best_global_step = state.best_global_step, state.global_step
        measured = {line["step"]: line[measure] for line in state.log_history if measure in line}
        state.best_metric = measured.get(state.global_step)
    best = folder / f"checkpoint-{state.best_global_step}"
    state.best_model_checkpoint = str(best) if best.is_dir() else None
    return lost


def sampler_by_epoch(trainer: Any, train_dataset: Any = None) -> Any:
    """transformers' `_get_train_sampler` draws from the global generator, so a run resumed in a later epoch would see
    other rows. The order of `trainer.sampler` depends on seed and epoch alone.
    Seen in transformers 5.23.0; unneeded when a sampler can be given, or draws anew from the seed in each epoch."""
    return trainer.sampler(trainer.train_dataset if train_dataset is None else train_dataset)


def start_epoch(sampler: "RepeatSampler", epoch: int) -> None:
    """trl's order of prompts depends on the epochs drawn before in this process. `set_epoch` is called by accelerate.
    Seen in trl 1.16.0; unneeded when its `RepeatSampler` has a `set_epoch`."""
    assert sampler.seed is not None
    sampler.generator.manual_seed(sampler.seed * 1_000_003 + epoch)


def keep_dataset(_trainer: Any, dataset: Any, *_: Any, **__: Any) -> Any:
    """trl's `_prepare_dataset` renders and tokenizes pairs by itself, other than `shared.rendering` does.
    Seen in trl 1.16.0; unneeded when DPO takes token ids."""
    return dataset


def keep_prompts(_trainer: Any, prompts: list[list[int]]) -> tuple[list[list[int]], None, dict[str, Any]]:
    """trl's `_tokenize_prompts` renders and tokenizes prompts by itself, other than `shared.rendering` does.
    Seen in trl 1.16.0; unneeded when GRPO takes token ids."""
    return prompts, None, {}


def sample_in_parts(trainer: Any, prompts: list[list[int]], *more: Any, **named: Any) -> tuple[list[list[int]], None]:
    """trl's `_generate_single_turn` samples all answers of a step at once, which may not fit; here `trainer.at_once`.
    Seen in trl 1.16.0; unneeded when fewer answers than a step's can be sampled at once."""
    from trl.trainer.grpo_trainer import GRPOTrainer

    answers: list[list[int]] = []
    for start in range(0, len(prompts), trainer.at_once):
        part = prompts[start : start + trainer.at_once]
        answers += GRPOTrainer._generate_single_turn(trainer, part, *more, **named)[0]
    return answers, None


def no_answers_in_logs() -> None:
    """trl logs prompt and answer where all rewards of an answer are missing; logs are to hold no data.
    Seen in trl 1.16.0; unneeded when that warning quotes neither."""
    logging.getLogger("trl.trainer.grpo_trainer").setLevel(logging.ERROR)
