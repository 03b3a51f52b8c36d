"""Supervised tuning: loss on the assistant's messages. What a step computes is in `step.py`. Import only with torch."""

import torch
from peft import PeftModel, get_peft_model
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from training_job import patches
from training_job.data.chat_rows import encode_file
from training_job.data.packing import Layout
from training_job.data.selection import EncodedData
from training_job.job.diagnosis import diagnose
from training_job.job.setup import Setup
from training_job.methods.step import SupervisedTrainer, adapted, finished
from training_job.model import quantized

__all__ = ["MEASURES", "build", "diagnose", "read"]
MEASURES: dict[str, str] = {}
read = encode_file


def build(setup: Setup, data: EncodedData) -> SupervisedTrainer:
    """A trainer whose steps are planned ahead; which rows lie together is in `training_job.data.packing`."""
    packs = quantized.packs(setup.base_model)
    start = adapted(setup, attention=patches.row_attention() if packs else None)
    model = start["model"]
    if "peft_config" in start:
        model = get_peft_model(model, start["peft_config"], autocast_adapter_dtype=False)
    patches.share_adapter_inputs(model)
    if setup.hyperparameters.sharding == "full":
        shard(model)
    length = setup.hyperparameters.max_length_tokens
    layout = Layout(setup.hyperparameters.packing if packs else "plain", setup.micro_batch_size, length)
    return finished(SupervisedTrainer(setup, model, data, layout))


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
