"""Supervised tuning: the loss falls on the messages of the assistant.

Import only where torch may be loaded.
"""

import contextlib
from dataclasses import replace
from typing import Any, cast

import torch
from accelerate.utils import send_to_device
from peft import PeftModel, get_peft_model
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.functional import cross_entropy, linear, linear_cross_entropy
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from shared.domain.planning.memory import LOGITS_CHUNK_TOKENS
from training_job import patches
from training_job.data.chat_rows import IGNORED, Encoded, encode_file
from training_job.data.packing import Layout, shared_out, steps_of_run, trained_tokens
from training_job.data.selection import EncodedData
from training_job.job.diagnosis import diagnose
from training_job.job.setup import Setup
from training_job.methods.trainer import adapted, common_settings, finished, model_of
from training_job.model import quantized

# Logits of so many tokens exist at a time, as the memory plan assumes.
CHUNKED = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=LOGITS_CHUNK_TOKENS, chunking_method=None)

__all__ = ["MEASURES", "build", "diagnose", "read"]
MEASURES: dict[str, str] = {}
read = encode_file


def build(setup: Setup, data: EncodedData) -> "SupervisedTrainer":
    """A trainer whose steps are planned ahead; see `training_job.data.packing`."""
    packs = quantized.packs(setup.base_model)
    start = adapted(setup, attention=patches.row_attention() if packs else None)
    model = start["model"]
    if "peft_config" in start:
        model = get_peft_model(model, start["peft_config"], autocast_adapter_dtype=False)
    patches.share_adapter_inputs(model)
    if setup.hyperparameters.sharding == "full":
        shard(model)
    length = setup.hyperparameters.max_length_tokens
    settings = common_settings(setup) | {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1}
    layout = Layout(setup.hyperparameters.packing if packs else "plain", setup.micro_batch_size, length)
    return finished(SupervisedTrainer(setup, model, data, layout, args=TrainingArguments(**settings)))


class SupervisedTrainer(Trainer):
    """transformers' loop, with a step of ours: all micro batches of a step, their loss over all its tokens.

    The dataset's items are steps, so the whole run is one pass over it, and a resumed run skips to its place.
    """

    def __init__(self, setup: Setup, model: PeftModel, data: EncodedData, layout: Layout, **args: Any) -> None:
        chosen = setup.hyperparameters
        self._layout = layout
        self._selection, rows = list(data.selection), data.train
        plan = steps_of_run(len(rows), chosen.batch_size, chosen.seed, setup.steps)
        self._steps_per_epoch = -(-len(rows) // chosen.batch_size)
        steps = [[rows[i] for i in step] for step in plan]
        self._head = None if layout.kind == "plain" else patches.take_head(model)
        super().__init__(
            model=model, **args, train_dataset=steps, eval_dataset=self._selection, processing_class=setup.tokenizer
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
        return [self._layout.tensors(share or [filler(rows)]) for share in shares]

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
        """Forward and backward of every micro batch; returns the step's loss per trained token, of this process."""
        model.train()
        total = torch.zeros((), device=self.args.device)
        # Processes average their gradients; each has divided by the tokens of all.
        weight = self.args.world_size / max(1, inputs["trained_tokens"])
        last = len(inputs["micro_batches"]) - 1
        for i, batch in enumerate(inputs["micro_batches"]):
            with contextlib.nullcontext() if i == last else self.accelerator.no_sync(model):
                loss = self._loss(model, batch) * weight
                self.accelerator.backward(loss)
            total += loss.detach()
        if self._sharded:
            average_gradients(model)
        self.state.num_input_tokens_seen += inputs["tokens"]
        self.state.epoch = (self.state.global_step + 1) / self._steps_per_epoch
        return total

    def _loss(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        """Summed over the micro batch's trained tokens in float32.

        torch rounds each loss to the dtype of the model, which averages out; its own sum would be rounded as a whole.
        """
        with self.compute_loss_context_manager():
            hidden, targets = self._hidden(model, batch)
            if self._head is None:
                return self._summed(hidden, targets)
            losses = linear_cross_entropy(hidden, self._head, targets, reduction="none", options=CHUNKED)
            return losses.float().sum()

    def _float32_loss(self, model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
        with torch.no_grad(), self.compute_loss_context_manager():
            return self._summed(*self._hidden(model, batch))

    def _summed(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), device=self.args.device)
        for some, following in zip(hidden.split(LOGITS_CHUNK_TOKENS), targets.split(LOGITS_CHUNK_TOKENS), strict=True):
            logits = (some if self._head is None else linear(some, self._head)).float()
            total = total + cross_entropy(logits, following, reduction="sum")
        return total

    def _hidden(self, model: torch.nn.Module, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states `[trained tokens, hidden]` in the dtype of the output layer, and the tokens that follow.

        Of a model that keeps its output layer, logits.
        """
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
        for batch in self._micro_batches(rows):
            total += self._float32_loss(model, batch)
        summed = float(self.accelerator.gather(total).sum())
        return summed / max(1, trained_tokens(rows))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """transformers counts the whole run as one epoch."""
        self.state.epoch = self.state.global_step / self._steps_per_epoch
        super().log(logs, start_time)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: transformers looks for one batch, and its rule is not LoRA's."""
        return 0


def filler(rows: list[Encoded]) -> Encoded:
    """A row without loss, for a process that has no rows left while others have some."""
    shortest = min(rows, key=lambda row: len(row.input_ids))
    return replace(shortest, labels=[IGNORED] * len(shortest.labels))


def shard(model: PeftModel) -> None:
    """Leave each process its shard of every decoder layer's frozen weights; each has loaded the whole base before."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mesh = init_device_mesh(device, (torch.distributed.get_world_size(),))
    decoder = model.get_base_model().get_submodule("model")
    layers = list(decoder.get_submodule("layers").children())
    whole = {each for each in decoder.parameters() if each.requires_grad}
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
    # Around them all, so that the next layer comes while one computes; embeddings and the last norm stay whole.
    inside = {each for layer in layers for each in layer.parameters()}
    fully_shard(decoder, mesh=mesh, ignored_params=whole | (set(decoder.parameters()) - inside))
    parts = [each for each in decoder.parameters() if isinstance(each, DTensor)]
    kept, all_of_it = (sum(each.nbytes for each in tensors) for tensors in ((p.to_local() for p in parts), parts))
    print(f"sharded: this process keeps {kept} of {all_of_it} bytes of the frozen layers", flush=True)


def average_gradients(model: torch.nn.Module) -> None:
    """What DDP does for models that are not sharded."""
    processes = torch.distributed.get_world_size()
    for parameter in model.parameters():
        if parameter.grad is not None:
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= processes
