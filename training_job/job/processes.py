"""The processes of one job, alone or several that share each batch; and imports of torch.

Azure ML sets RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT in each process of a PyTorch distribution
(Azure docs, "Distributed GPU training guide"); torch and accelerate read the same names.
"""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Around imports of libraries: what they leave is no garbage, now or later.

    They make half a million objects. To look for garbage among them takes a fifth of the time of the imports, and 0.3 s
    of each `gc.collect` afterwards, of which a run has four.
    """
    before, was_enabled = len(sys.modules), gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
        if was_enabled:
            gc.enable()


def is_main_process() -> bool:
    """Whether this process writes the files: the first of several, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def is_distributed() -> bool:
    """Whether the job has several processes."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def init_process_group() -> None:
    """Wait until all processes are there; imports torch where there are several.

    Call it before any work: the main process has then removed what an earlier attempt left, so any process that fails
    may write the result.
    """
    if is_distributed():
        with importing():
            import torch

        torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
