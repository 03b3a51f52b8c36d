"""What the trainers of all methods share: the base model, common settings, intervals.

Import only where torch may be loaded.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from peft import PeftModel
from transformers import EarlyStoppingCallback, PreTrainedModel, PrinterCallback, Trainer, set_seed

from training_job import patches
from training_job.data.chat_rows import Encoded
from training_job.job.setup import Setup
from training_job.model import quantized
from training_job.model.artifacts import loss_of

AnyTrainer = TypeVar("AnyTrainer", bound=Trainer)
LOG_LINES, CHECKPOINTS = 60, 10
PATIENCE = 3  # evaluations in a row without a lower selection loss
OPTIMIZERS = {"adamw": "adamw_torch_fused", "paged_adamw_8bit": "paged_adamw_8bit"}


@dataclass(frozen=True)
class Intervals:
    """Steps between two log lines, and between two evaluations, each with its checkpoint: the best is kept.

    The latter is a multiple of the first: a checkpoint between two log lines would cut a resumed run's next average
    short.
    """

    log: int
    save: int

    @classmethod
    def of(cls, total_steps: int) -> "Intervals":
        log = max(1, total_steps // LOG_LINES)
        return cls(log, log * max(1, math.ceil(total_steps / CHECKPOINTS / log)))


def load_base(setup: Setup, attention: str | None) -> PreTrainedModel:
    """The base model, in 4 bit unless the recipe says otherwise; seeds every generator first."""
    set_seed(setup.hyperparameters.seed)
    return quantized.load_model(setup.base_model, setup.dtype, quantize=setup.quantize, attention=attention)


def adapted(setup: Setup, attention: str | None = None) -> dict[str, Any]:
    """`model` and `peft_config` for a trainer of trl: a new adapter on the base, or the one the run continues from."""
    base = load_base(setup, attention)
    if setup.continue_from is None:
        return {"model": base, "peft_config": quantized.lora(setup.hyperparameters, base.config.model_type)}
    return {"model": quantized.load_adapter(base, setup.continue_from, setup.hyperparameters)}


def finished(trainer: AnyTrainer) -> AnyTrainer:
    """The last step of building a trainer, for every method: early stopping, no model cards, no change of precision."""
    trainer.remove_callback(PrinterCallback)
    if trainer.args.load_best_model_at_end:
        trainer.add_callback(EarlyStoppingCallback(PATIENCE))
    model = model_of(trainer)
    model.create_or_update_model_card = patches.no_model_card  # type: ignore[method-assign]
    patches.keep_training_kernel(model)
    patches.adapters_to_float32(model)
    return trainer


def model_of(trainer: Trainer) -> PeftModel:
    """The trainer's model; its type says that it may be None."""
    assert trainer.model is not None
    return cast(PeftModel, trainer.model)


def probe_loss(trainer: Trainer, rows: Sequence[Encoded]) -> float:
    """Loss per token of some rows under the trainer's model as it stands; draws no random numbers."""
    if own := getattr(trainer, "loss_of", None):  # of a model without output layer
        return float(own(list(rows)))
    with trainer.compute_loss_context_manager():
        return loss_of(model_of(trainer), rows)


def common_settings(setup: Setup) -> dict[str, Any]:
    """Settings of transformers 5.23 that every method's config takes; those that differ on purpose say why."""
    intervals, hyperparameters = Intervals.of(setup.steps), setup.hyperparameters
    return {
        "output_dir": str(setup.output / "checkpoints"),
        "max_steps": setup.steps,
        "per_device_train_batch_size": setup.micro_batch_size,
        "gradient_accumulation_steps": hyperparameters.batch_size // setup.micro_batch_size,
        "learning_rate": hyperparameters.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.05,
        "optim": OPTIMIZERS[hyperparameters.optimizer],
        "activation_checkpointing": hyperparameters.gradient_checkpointing,
        "bf16": hyperparameters.compute_dtype == "bfloat16",
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "logging_steps": intervals.log,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,  # the default hides a loss that is not a number
        "eval_strategy": "steps" if setup.selects else "no",
        "eval_steps": intervals.save,
        "save_steps": intervals.save,
        "save_total_limit": None,  # transformers deletes before the new one is complete: `Watch.on_save` does it
        "load_best_model_at_end": setup.selects,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
        "restore_callback_states_from_checkpoint": True,  # early stopping continues its count
        "ddp_find_unused_parameters": False,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": hyperparameters.seed,
    }
