"""The step of training, which every method takes: one update of the adapters by `batch_size` rows.

In this order, of which 2 and 3 are transformers' loop (`Trainer._run_epoch`):

1. Forward and backward of each micro batch (`SupervisedTrainer.training_step`; that of pairs and rewards is trl's). The
   loss falls on the tokens that have a label (`_predicted`): those of the assistant, never the first of a row. It is
   their sum in float32 over the number of all in the step, so micro batches and processes change no result.
2. Gradients are clipped to a norm of `max_grad_norm`.
3. The optimizer steps, the schedule steps, gradients are forgotten.

All that a step depends on is in `settings`. Import only where torch may be loaded.
"""

import contextlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, cast

import torch
from accelerate.utils import send_to_device
from peft import PeftModel
from torch.nn.functional import cross_entropy, linear, linear_cross_entropy
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainingArguments, set_seed

from shared.domain.planning.memory import LOGITS_CHUNK_TOKENS
from training_job import patches
from training_job.data.chat_rows import IGNORED, Encoded
from training_job.data.packing import Layout, shared_out, steps_of_run
from training_job.data.selection import EncodedData
from training_job.job.setup import Setup
from training_job.model import quantized

AnyTrainer = TypeVar("AnyTrainer", bound=Trainer)
LOG_LINES, CHECKPOINTS = 60, 10
PATIENCE = 3  # evaluations in a row without a lower selection loss
OPTIMIZERS = {"adamw": "adamw_torch_fused", "paged_adamw_8bit": "paged_adamw_8bit"}
# Logits of so many tokens exist at a time, as the memory plan assumes.
CHUNKED = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=LOGITS_CHUNK_TOKENS, chunking_method=None)


def settings(setup: Setup) -> dict[str, Any]:
    """Settings of transformers 5.23 that every method's config takes; those that differ on purpose say why."""
    (log, save), hyperparameters = intervals(setup.steps), setup.hyperparameters
    return {
        # Batch: rows of a micro batch, and micro batches of a step.
        "max_steps": setup.steps,
        "per_device_train_batch_size": setup.micro_batch_size,
        "gradient_accumulation_steps": hyperparameters.batch_size // setup.micro_batch_size,
        # Optimizer, schedule and clipping. A `warmup_steps` below 1 is a share of all steps.
        "optim": OPTIMIZERS[hyperparameters.optimizer],
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "weight_decay": 0.0,
        "learning_rate": hyperparameters.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.05,
        "max_grad_norm": 1.0,
        # Precision: passes in bfloat16 by autocast, adapters and their moments in float32 (`finished`).
        "bf16": hyperparameters.compute_dtype == "bfloat16",
        "activation_checkpointing": hyperparameters.gradient_checkpointing,
        "seed": hyperparameters.seed,
        # Where it runs, and what is written when.
        "output_dir": str(setup.output / "checkpoints"),
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
        "logging_steps": log,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,  # the default hides a loss that is not a number
        "eval_strategy": "steps" if setup.selects else "no",
        "eval_steps": save,
        "save_steps": save,
        "save_total_limit": None,  # transformers deletes before the new one is complete: `Watch.on_save` does it
        "load_best_model_at_end": setup.selects,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
        "restore_callback_states_from_checkpoint": True,  # early stopping continues its count
        "ddp_find_unused_parameters": False,
        "report_to": "none",
        "disable_tqdm": True,
    }


def intervals(total_steps: int) -> tuple[int, int]:
    """Steps between two log lines, and between two evaluations, each with its checkpoint: the best is kept. The latter
    is a multiple of the first: a checkpoint between two log lines would cut a resumed run's next average short."""
    log = max(1, total_steps // LOG_LINES)
    return log, log * max(1, math.ceil(total_steps / CHECKPOINTS / log))


def adapted(setup: Setup, attention: str | None = None) -> dict[str, Any]:
    """`model` and `peft_config` for a trainer of trl: a new adapter, or the continued one. Seeds first."""
    set_seed(setup.hyperparameters.seed)
    base = quantized.load_model(setup.base_model, setup.dtype, quantize=setup.quantize, attention=attention)
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


class SupervisedTrainer(Trainer):
    """transformers' loop, with a step of ours: all micro batches of a step, their loss over all its tokens. The
    dataset's items are steps, so the whole run is one pass over it, and a resumed run skips to its place."""

    def __init__(self, setup: Setup, model: PeftModel, data: EncodedData, layout: Layout) -> None:
        chosen = setup.hyperparameters
        self._layout = layout
        self._selection, rows = list(data.selection), data.train
        self._steps_per_epoch = -(-len(rows) // chosen.batch_size)
        plan = steps_of_run(len(rows), chosen.batch_size, chosen.seed, setup.steps)
        steps = [[rows[i] for i in step] for step in plan]
        self._head = None if layout.kind == "plain" else patches.take_head(model)
        of_a_step = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1}  # an item is a whole step
        args = TrainingArguments(**settings(setup) | of_a_step)
        super().__init__(
            model, args, train_dataset=steps, eval_dataset=self._selection, processing_class=setup.tokenizer
        )
        self._sharded = chosen.sharding == "full"
        if self._sharded:  # accelerate would put it into DDP, which takes no parts, but passes over what is prepared
            self.accelerator.prepare_model(model, device_placement=False, evaluation_mode=True)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Every process reads every step and takes its share; accelerate's sharding would repeat rows to fill up."""
        pinned = self.args.dataloader_pin_memory
        return DataLoader(cast(Any, self.train_dataset), batch_size=1, collate_fn=self._step, pin_memory=pinned)

    def _step(self, items: list[list[Encoded]]) -> dict[str, Any]:
        (rows,) = items
        return {
            "micro_batches": self._micro_batches(rows),
            "tokens": sum(len(row.input_ids) for row in rows),
            "trained_tokens": trained_tokens(rows),
        }

    def _micro_batches(self, rows: list[Encoded]) -> list[dict[str, Any]]:
        shares = shared_out(self._layout, rows, self.args.process_index, self.args.world_size)
        shortest = min(rows, key=lambda row: len(row.input_ids))
        filler = replace(shortest, labels=[IGNORED] * len(shortest.labels))  # where only others have rows left
        lay_out = packed if self._layout.kind == "packed" else partial(padded, plain=self._layout.kind == "plain")
        return [lay_out(share or [filler]) for share in shares]

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
        """Forward and backward of every micro batch; returns the step's loss per trained token, of this process."""
        model.train()
        total = torch.zeros((), device=self.args.device)
        # Processes average their gradients; each divides by the tokens of all.
        weight = self.args.world_size / max(1, inputs["trained_tokens"])
        last = len(inputs["micro_batches"]) - 1
        for i, batch in enumerate(inputs["micro_batches"]):
            with contextlib.nullcontext() if i == last else self.accelerator.no_sync(model):
                loss = self._loss(model, batch) * weight
                self.accelerator.backward(loss)
            total += loss.detach()
        for parameter in model.parameters() if self._sharded else ():  # as DDP does for models that are not sharded
            if parameter.grad is not None:
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= self.args.world_size
        self.state.num_input_tokens_seen += inputs["tokens"]
        self.state.epoch = (self.state.global_step + 1) / self._steps_per_epoch
        return total

    def _loss(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Summed over the micro batch's trained tokens in float32. torch rounds each loss to the dtype of the model,
        which averages out; its own sum would be rounded as a whole."""
        with self.compute_loss_context_manager():
            hidden, targets = self._hidden(model, batch)
            if self._head is None:
                return self._summed(hidden, targets)
            losses = linear_cross_entropy(hidden, self._head, targets, reduction="none", options=CHUNKED)
            return losses.float().sum()

    def _summed(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), device=self.args.device)
        for some, following in zip(hidden.split(LOGITS_CHUNK_TOKENS), targets.split(LOGITS_CHUNK_TOKENS), strict=True):
            logits = (some if self._head is None else linear(some, self._head)).float()
            total = total + cross_entropy(logits, following, reduction="sum")
        return total

    def _hidden(self, model: torch.nn.Module, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states (or logits) `[trained tokens, hidden]` in the output's dtype, and the tokens that follow."""
        # transformers' own copy would wait for all that the GPU still has to do.
        batch = send_to_device(batch, self.args.device, non_blocking=True)
        hidden = model(**batch["reading"], use_cache=False).logits.flatten(0, 1)[batch["kept"]]
        return hidden if self._head is None else hidden.to(self._head.dtype), batch["targets"]

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The loss of the rows of selection; that of transformers is a mean over batches, not tokens."""
        metrics = {f"{metric_key_prefix}_loss": self.loss_of(self._selection)}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def loss_of(self, rows: list[Encoded]) -> float:
        """Per trained token of the rows, of all processes; summed in float32."""
        model = model_of(self)
        model.eval()
        total = torch.zeros(1, device=self.args.device)
        with torch.no_grad(), self.compute_loss_context_manager():
            for batch in self._micro_batches(rows):
                total += self._summed(*self._hidden(model, batch))
        return float(self.accelerator.gather(total).sum()) / max(1, trained_tokens(rows))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """transformers counts the whole run as one epoch."""
        self.state.epoch = self.state.global_step / self._steps_per_epoch
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: transformers looks for one batch, and its rule is not LoRA's."""
        return 0


def trained_tokens(rows: Iterable[Encoded]) -> int:
    """Tokens that loss falls on. The first of a row has nothing before it to be predicted from."""
    return sum(label != IGNORED for row in rows for label in row.labels[1:])


def packed(rows: Sequence[Encoded]) -> dict[str, Any]:
    """Rows end to end: ids and positions `[1, tokens]`, positions from 0 in each row."""
    ids = [token for row in rows for token in row.input_ids]
    positions = [position for row in rows for position in range(len(row.input_ids))]
    following = [label for row in rows for label in (*row.labels[1:], IGNORED)]
    reading = {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.tensor([positions]),
        "row_lengths": [len(row.input_ids) for row in rows],
    }
    return {"reading": reading, **_predicted(following)}


def padded(rows: Sequence[Encoded], *, plain: bool = False) -> dict[str, Any]:
    """One row a line, filled up on the right: ids `[rows, longest]`."""
    width = max(len(row.input_ids) for row in rows)
    ids = [row.input_ids + [0] * (width - len(row.input_ids)) for row in rows]
    following = [label for row in rows for label in (*row.labels[1:], *[IGNORED] * (width - len(row.labels) + 1))]
    lengths = torch.tensor([[len(row.input_ids)] for row in rows])
    seen = {"attention_mask": (torch.arange(width) < lengths).long()} if plain else {"row_lengths": None}
    return {"reading": {"input_ids": torch.tensor(ids), **seen}, **_predicted(following)}


def _predicted(following: list[int]) -> dict[str, torch.Tensor]:
    """The flat positions loss falls after, and the tokens it falls on."""
    after = torch.tensor(following)
    kept = (after != IGNORED).nonzero().squeeze(1)
    return {"kept": kept, "targets": after[kept]}
