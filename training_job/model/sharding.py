"""FSDP2: the frozen base sharded over all processes, its adapters whole on each. Import only where torch may be loaded.

Before a decoder layer computes, forward and backward, torch gathers its weights from all processes, in 4 bit, and lets
go of them afterwards. Adapters are small: each process keeps them whole, so checkpoints, optimizer and saving are those
of one process, and their gradients are averaged once a step. Run on the CPU only, never on a GPU.
"""

import torch
from peft import PeftModel
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor


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
