"""Imports of torch and of what stands on it."""

import gc
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
