"""The processes of one job, by the variables that Azure ML sets and torch and accelerate read. And imports of torch."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Around imports of libraries, whose half a million objects are no garbage: to look costs a fifth of their time."""
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
    """Wait until all processes are there; imports torch where there are several. Call it before any work: the main
    process has then removed what an earlier attempt left, so any process that fails may write the result."""
    if is_distributed():
        with importing():
            import torch

        torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
